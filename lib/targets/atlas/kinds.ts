import { atlasConnection, atlasSettings } from "../connection.ts";
import { kindsOfVendor } from "../registration.ts";
import { accessListKind } from "./access-list.ts";

const atlas = kindsOfVendor(atlasSettings, atlasConnection, () => import("../../clouds/atlas.ts"));

export const atlasKinds = {
  ...atlas("atlas/access-list", accessListKind, (cloud) => cloud.openAccessLists),
};
