import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import * as z from "zod/mini";
import { ROOT } from "./bundle.ts";

const versionShape = z.looseObject({ version: z.string() });
const lockShape = z.looseObject({
  version: z.string(),
  packages: z.looseObject({ "": versionShape }),
});
const chartShape = z.looseObject({
  version: z.string(),
  appVersion: z.string(),
  annotations: z.looseObject({ "artifacthub.io/images": z.string() }),
});
const imagesShape = z.array(z.looseObject({ image: z.string() }));
const TAGGED = /^.*:([^:/]+)$/;

/** The version that package.json says. */
export function readVersion(): string {
  return versionShape.parse(JSON.parse(read("package.json"))).version;
}

/** Everywhere else where the version is written, and what it is there. */
export function versionPlaces(): ReadonlyMap<string, string> {
  const lock = lockShape.parse(JSON.parse(read("package-lock.json")));
  const chart = chartShape.parse(parse(read("infra/helm/kube-allowlist/Chart.yaml")));
  const images = imagesShape.parse(parse(chart.annotations["artifacthub.io/images"]));
  const deployment = read("infra/kustomize/base/deployment.yaml");
  const kustomize = /^\s*image: "?([^"\s]+)"?$/m.exec(deployment)?.[1] ?? "";
  return new Map([
    ["package-lock.json", lock.version],
    ["package-lock.json, the package itself", lock.packages[""].version],
    ["Chart.yaml, version", chart.version],
    ["Chart.yaml, appVersion", chart.appVersion],
    ...images.map(({ image }, index): [string, string] => [
      `Chart.yaml, artifacthub.io/images ${index}`,
      tagOf(image),
    ]),
    ["infra/kustomize/base, the image", tagOf(kustomize)],
  ]);
}

/** What does not agree with `version`; with a tag also whether that is a release of it. */
export function versionProblems(
  version: string,
  places: ReadonlyMap<string, string>,
  release: { readonly tag?: string | undefined; readonly changelog?: string } = {},
): readonly string[] {
  const { tag, changelog = "" } = release;
  const others = [...places]
    .filter(([, found]) => found !== version)
    .map(([place, found]) => `${place} says ${found}: package.json says ${version}`);
  if (tag === undefined) return others;
  const wrongTag = tag === `v${version}` ? [] : [`The tag is ${tag}: write v${version}`];
  const heading = `## [${version}] - `;
  const untold = changelog.includes(`\n${heading}`)
    ? []
    : [`CHANGELOG.md tells nothing of it: write "${heading}" and the date over its changes`];
  return [...others, ...wrongTag, ...untold];
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

function tagOf(image: string): string {
  return TAGGED.exec(image)?.[1] ?? "nothing";
}
