import { newName, type World } from '../world.ts';
import { badPage, type Call, type Calls, nothing, only } from './call.ts';

const onAttacker: Calls = async ({ api }) => {
  const [{ uuid: id }] = (await api('GET', '/attackers')).data;
  return [{ params: { id }, expect: 200 }, nothing];
};
const onCampaign = async ({ plane: { database } }: World): Promise<readonly Call[]> => {
  const [uuid, at] = [newName(), new Date().toISOString()];
  await database.db.insertInto('campaigns').values({ uuid, created_at: at, updated_at: at }).execute();
  return [{ params: { uuid }, expect: 200 }, nothing];
};

/** What is worked out from the log. */
export const READ_MODELS: Readonly<Record<string, Calls>> = {
  readStats: only(200),
  listLogs: () => [
    { expect: 200 },
    { query: 'search=service:ssh&start_time=2020-01-01 00:00:00&limit=1', expect: 200 },
    { query: 'end_time=yesterday', expect: 422 },
    badPage,
  ],
  readLogHistogram: () => [
    { query: 'interval_minutes=60', expect: 200 },
    { query: 'interval_minutes=0', expect: 422 },
  ],

  listIdentities: () => [{ expect: 200 }, badPage],
  readIdentity: async ({ api }) => {
    const { data } = await api('GET', '/identities');
    return [...data.map(({ uuid }: { uuid: string }) => ({ params: { uuid }, expect: 200 })), nothing];
  },
  listIdentityObservations: async ({ api }) => {
    const { data } = await api('GET', '/identities');
    const params = { uuid: data[0].uuid };
    return [{ params, expect: 200 }, { params, ...badPage }, nothing];
  },

  listAttackers: () => [{ expect: 200 }, badPage],
  exportAttackersStix: only(200),
  exportAttackersMisp: only(200),
  readAttacker: onAttacker,
  readAttribution: onAttacker,
  listAttackerCommands: onAttacker,
  listAttackerArtifacts: onAttacker,
  listAttackerTranscripts: onAttacker,
  listAttackerSmtpTargets: onAttacker,
  listAttackerMail: onAttacker,
  readAttackerIntel: async (world) => {
    const { plane, api } = world;
    const [{ uuid, ip }] = (await api('GET', '/attackers')).data;
    await plane.database.db
      .insertInto('attacker_uuids')
      .values({ uuid, ip, identity_uuid: null })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    await plane.database.db
      .insertInto('attacker_intel')
      .values({ attacker_uuid: uuid, intel: '{"aggregate_verdict":"benign"}', updated_at: new Date().toISOString() })
      .execute();
    return onAttacker(world);
  },
  exportAttackerStix: onAttacker,
  exportAttackerMisp: onAttacker,

  listCampaigns: () => [{ expect: 200 }, badPage],
  readCampaign: onCampaign,
  listCampaignIdentities: async (world) => {
    const calls = await onCampaign(world);
    return [...calls, ...calls.slice(0, 1).map((found) => ({ ...found, ...badPage }))];
  },

  listOrchestratorEvents: () => [{ expect: 200 }, { query: 'kind=email', expect: 200 }, badPage],
  countOrchestratorFailures: () => [{ query: 'success=false', expect: 200 }, { expect: 422 }],
};
