import ecs from './presets/ecs.liquid' with { type: 'text' };
import ocsf from './presets/ocsf.liquid' with { type: 'text' };
import slack from './presets/slack.liquid' with { type: 'text' };
import thehive from './presets/thehive.liquid' with { type: 'text' };

/** Templates that come with the product, by the name that a subscription may give instead of a text. */
export const PRESETS = { ecs, ocsf, slack, thehive } as const satisfies Record<string, string>;
export type Preset = keyof typeof PRESETS;
