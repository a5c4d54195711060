import type { MutationOp } from '../model.ts';
import { addDecky } from './add-decky.ts';
import { addLan } from './add-lan.ts';
import { attachDecky } from './attach-decky.ts';
import { detachDecky } from './detach-decky.ts';
import type { Op } from './op.ts';
import { removeDecky } from './remove-decky.ts';
import { removeLan } from './remove-lan.ts';
import { updateDecky } from './update-decky.ts';
import { updateLan } from './update-lan.ts';

/** The operations that the mutation queue takes (contract §5.6). */
export const OPS: Readonly<Record<MutationOp, Op>> = {
  add_lan: addLan,
  remove_lan: removeLan,
  add_decky: addDecky,
  attach_decky: attachDecky,
  detach_decky: detachDecky,
  remove_decky: removeDecky,
  update_decky: updateDecky,
  update_lan: updateLan,
};
