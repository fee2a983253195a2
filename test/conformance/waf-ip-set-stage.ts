import { parseCidr } from "../../lib/core/cidr.ts";
import { startFakeWaf } from "../fakes/waf.ts";
import { makeTarget } from "../targets/making.ts";
import { ENVIRONMENT, FAULTS, QUOTED, SECRETS } from "./ec2-stage-faults.ts";
import { RACER } from "./play.ts";
import type { Stage, StageOptions } from "./target.ts";

const SETTINGS = {
  region: "eu-west-1",
  name: "nodes",
  id: "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
  exclusive: true,
};

/** The target as the product makes it, its SDK included, against an endpoint as strict as WAF. */
export async function ipSetStage(usedBy: "allow" | "block", options: StageOptions): Promise<Stage> {
  const waf = await startFakeWaf({
    set: options.missing ? null : {},
    addressesMax: options.quota ?? 10_000,
    secret: QUOTED,
  });
  const settings = { ...SETTINGS, usedBy, endpoint: waf.url };
  const made = { env: ENVIRONMENT, limit: options.limit };
  const addresses = () => waf.set()?.addresses ?? [];
  return {
    target: await makeTarget("aws/waf-ip-set", settings, made),
    secrets: SECRETS,
    shown: () => null,
    lines: addresses,
    put: (address) => waf.write({ addresses: [...addresses(), address] }),
    drop: (cidr) =>
      waf.write({ addresses: addresses().filter((address) => parseCidr(address) !== cidr) }),
    // A set holds nothing but addresses.
    surround: () => undefined,
    inject(verb, fault) {
      const by = () => waf.write({ addresses: [...addresses(), RACER] });
      const kind = fault === "raced" ? ({ kind: "preceded", by } as const) : FAULTS[fault];
      waf.inject(verb === "read" ? "get" : "update", kind);
    },
    calls(verb) {
      if (verb === "read") return waf.calls.get;
      return waf.updates.filter((update) => update === verb).length;
    },
    close: waf.close,
  };
}
