import { serveJson } from "../../cli/embedded/json-server.ts";
import { addressText, parseCidr } from "../../lib/core/cidr.ts";
import { digitalOceanCloud } from "../fakes/digitalocean.ts";
import { FOREIGN, RACER } from "./play.ts";
import { QUOTED, refusals, restStage } from "./rest-stage.ts";
import type { Stage, StageOptions } from "./target.ts";

const ID = "9cc10173-e9ea-4176-9dbc-a4cee4c4ff30";
const TOKEN = "canary-of-the-token";

/** The target as the product makes it, over HTTP, against one database's trusted sources. */
export function trustedSourcesStage(options: StageOptions): Promise<Stage> {
  const cloud = digitalOceanCloud(options.missing ? [] : [ID], TOKEN);
  const put = (address: string, text: string | null) => {
    const cidr = parseCidr(address);
    const value = cidr === null ? address : addressText(cidr);
    const row = { type: "ip_addr", value, ...(text === null ? {} : { description: text }) };
    cloud.set(ID, [...cloud.sources(ID), row]);
  };
  return restStage({
    kind: "digitalocean/database",
    settings: { id: ID },
    env: { DIGITALOCEAN_TOKEN: TOKEN },
    limit: options.limit ?? options.quota,
    spec: "digitalocean-firewall-db.json",
    backend: {
      handle: cloud.handle,
      refusals: refusals((status) => ({ id: QUOTED, message: `${status} ${QUOTED}` }), {
        status: 409,
        body: { id: "conflict", message: QUOTED },
      }),
      snapshot() {
        const held = cloud.sources(ID);
        return () => {
          if (!options.missing) cloud.set(ID, held);
        };
      },
      halve: (request) => request,
      race: () => put(RACER, FOREIGN),
    },
    serve: ({ handle }) => serveJson(handle),
    hands: {
      shown: (text) => text,
      lines: () => cloud.sources(ID).map((row) => JSON.stringify(row)),
      put,
      drop(cidr) {
        const left = cloud.sources(ID).filter(({ value }) => parseCidr(String(value)) !== cidr);
        cloud.set(ID, left);
      },
      surround() {
        const others = [
          { type: "droplet", value: "163973392" },
          { type: "k8s", value: "ff2a6c52-5a44-4b63-b99c-0e98e7a63d61" },
          { type: "tag", value: "backend", description: "a tag" },
          { type: "app", value: "192.0.2.1" },
        ];
        cloud.set(ID, [...cloud.sources(ID), ...others]);
      },
    },
  });
}
