import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PlatformStage } from "./platform-stage.ts";
import { platformSuite, sourceFile } from "./platform-suite.ts";

/* The functions' sources in processes of their own; test/e2e has the bundles, on every Node. */

const configOf = ({ folder }: PlatformStage) => join(folder, "allowlist.json");

platformSuite({
  title: "the functions' sources",
  node: process.execPath,
  prepare: (stage) => writeFileSync(configOf(stage), stage.config),
  fileOf: (_stage, name) => sourceFile(name),
  configOf,
});
