import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "esbuild";

const INTEGERS = join(import.meta.dirname, "../lib/clouds/alibaba/json.ts");
const SILENT = "silent";
/** Within the package of Alibaba Cloud's client, or within what it sends requests with. */
const CLIENT = /[\\/]node_modules[\\/](@alicloud[\\/]pop-core|httpx)[\\/]/;
const MANIFEST = /[\\/]@alicloud[\\/]pop-core[\\/]package\.json$/;

/**
 * Bundles of Alibaba Cloud's client what sends a call, and not what it does besides: numbers of any
 * length are read by `lib/clouds/alibaba/json.ts`, nothing is told to `DEBUG`, and of its manifest
 * only the name and version are kept that it says of itself. That is half of it.
 */
export function popCorePlugin(): Plugin {
  return {
    name: "pop-core",
    setup(build) {
      build.onResolve({ filter: /^json-bigint$/ }, ({ importer }) =>
        CLIENT.test(importer) ? { path: INTEGERS } : undefined,
      );
      build.onResolve({ filter: /^debug$/ }, ({ path, importer }) =>
        CLIENT.test(importer) ? { path, namespace: SILENT } : undefined,
      );
      build.onLoad({ filter: /./, namespace: SILENT }, () => ({
        contents: "module.exports = () => Object.assign(() => undefined, { enabled: false });",
      }));
      build.onLoad({ filter: MANIFEST }, ({ path }) => {
        const { name, version } = JSON.parse(readFileSync(path, "utf8"));
        return { contents: JSON.stringify({ name, version }), loader: "json" };
      });
    },
  };
}
