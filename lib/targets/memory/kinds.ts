import { memoryKind } from "../memory.ts";
import { ownOf } from "../registration.ts";

export const memoryKinds = {
  ...ownOf("memory", memoryKind, (_config, context) => context.memory),
};
