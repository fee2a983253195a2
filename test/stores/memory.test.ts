import { memoryStore } from "../../lib/stores/memory.ts";
import { testStore } from "./conformance.ts";

testStore({
  name: "memoryStore()",
  make: async () => {
    let now = 1_700_000_000_000;
    const store = memoryStore({ now: () => now });
    return {
      open: () => store,
      pass: async (ms) => {
        now += ms;
      },
    };
  },
});
