import { operation } from '../../http/operation.ts';
import { ref } from '../../http/schemas.ts';

export const lifecycleOperations = {
  deploy: operation('deployTopology', {
    tag: 'design',
    summary: 'Have a topology built, in the background',
    description:
      'The answer waits some seconds for the end of the deployment, and shows the topology as it was before. One that cannot be deployed is refused with the reasons (409) and stays pending.',
    access: 'admin',
    answers: { 202: ref('Topology') },
    refuses: [404, 409],
  }),
  teardown: operation('tearDownTopology', {
    tag: 'design',
    summary: 'Have a topology taken down, in the background',
    access: 'admin',
    answers: { 202: ref('Topology') },
    refuses: [404, 409],
  }),
  remove: operation('deleteTopology', {
    tag: 'design',
    summary: 'Delete a topology that does not run; its streams end',
    access: 'admin',
    answers: { 204: null },
    refuses: [404, 409],
  }),
};
