import { Resolver } from "node:dns/promises";
import { type NameClient, NameError } from "./names.ts";

const TRY_MS_MAX = 2_000;
const TRIES_MAX = 2;
const CODE = /^E[A-Z]{2,30}$/;
// Node's codes for the names of c-ares, ARES_ENODATA: answered, without such a record.
const NO_DATA = "ENODATA";

/**
 * The name servers of this machine, or those that are named. They are asked directly: a hosts file
 * and search domains are for people at this machine, and must not decide who passes a firewall
 * elsewhere.
 */
export function dnsClient(servers: readonly string[] | null = null): NameClient {
  return {
    async resolve(name, family, signal) {
      signal.throwIfAborted();
      // One for each question: to cancel one must not end the others, and nothing is kept.
      const resolver = new Resolver({ timeout: TRY_MS_MAX, tries: TRIES_MAX });
      if (servers !== null) resolver.setServers(servers);
      const cancel = () => resolver.cancel();
      signal.addEventListener("abort", cancel, { once: true });
      try {
        return await (family === "ipv4" ? resolver.resolve4(name) : resolver.resolve6(name));
      } catch (thrown) {
        const code = codeOf(thrown);
        if (code === NO_DATA) return [];
        throw new NameError(code);
      } finally {
        signal.removeEventListener("abort", cancel);
      }
    },
  };
}

function codeOf(thrown: unknown): string {
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : "";
  return CODE.test(code) ? code : "EUNKNOWN";
}
