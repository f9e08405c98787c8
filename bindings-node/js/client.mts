// The same objects for `import` as for `require`: one implementation, one identity of each class.
export { ERROR_CODES, Follow, Lock, PortDaddy, PortDaddyError, Subscription } from './client.js';
export type * from './client.js';
