import { atlasConnection, atlasSettings } from "../connection.ts";
import { vendorOf } from "../registration.ts";
import { accessListKind } from "./access-list.ts";

const atlas = vendorOf(atlasSettings, atlasConnection, () => import("../../clouds/atlas.ts"));

export const atlasKinds = {
  ...atlas("atlas/access-list", accessListKind, (cloud) => cloud.openAccessLists),
};
