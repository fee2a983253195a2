import { serveJson } from "../../cli/embedded/json-server.ts";
import { parseCidr } from "../../lib/core/cidr.ts";
import { atlasCloud } from "../fakes/atlas.ts";
import { FOREIGN, RACER } from "./play.ts";
import { QUOTED, refusals, restStage } from "./rest-stage.ts";
import type { Stage, StageOptions } from "./target.ts";

const PROJECT = "32b6e34b3d91647abb20e7b8";
const ENVIRONMENT = {
  MONGODB_ATLAS_CLIENT_ID: "canary-of-the-client",
  MONGODB_ATLAS_CLIENT_SECRET: "canary-of-the-secret",
};

/** The target as the product makes it, over HTTP, against the access list of one project. */
export function accessListStage(options: StageOptions): Promise<Stage> {
  const cloud = atlasCloud({
    project: options.missing ? "another" : PROJECT,
    clientId: ENVIRONMENT.MONGODB_ATLAS_CLIENT_ID,
    clientSecret: ENVIRONMENT.MONGODB_ATLAS_CLIENT_SECRET,
    entriesMax: options.quota ?? 200,
    pageMax: options.page ?? 500,
    batch: options.batch === "partial" ? "up-to-the-refused" : "all-or-nothing",
  });
  const put = (address: string, text: string | null) => {
    const cidrBlock = parseCidr(address) ?? address;
    cloud.set([...cloud.rows(), { cidrBlock, ...(text === null ? {} : { comment: text }) }]);
  };
  const body = (status: number) => ({ error: status, errorCode: QUOTED, detail: QUOTED });
  return restStage({
    kind: "atlas/access-list",
    settings: { project: PROJECT },
    env: ENVIRONMENT,
    limit: options.limit,
    spec: "atlas-accesslist.json",
    removesOneByOne: true,
    backend: {
      handle: cloud.handle,
      refusals: refusals(body, { status: 409, body: body(409) }),
      snapshot() {
        const held = cloud.rows();
        return () => cloud.set(held);
      },
      halve(request) {
        const asked = request.body as readonly unknown[];
        return { ...request, body: asked.slice(0, Math.ceil(asked.length / 2)) };
      },
      race: () => put(RACER, FOREIGN),
    },
    serve: ({ handle }) => serveJson(handle),
    hands: {
      shown: (text) => text,
      lines: () => cloud.rows().map((row) => JSON.stringify(row)),
      put,
      drop(cidr) {
        cloud.set(cloud.rows().filter(({ cidrBlock }) => cidrBlock !== cidr));
      },
      surround() {
        cloud.set([...cloud.rows(), { awsSecurityGroup: "sg-903004f8", comment: "by hand" }]);
      },
    },
  });
}
