import { tokenConnection, tokenSettings } from "../connection.ts";
import { kindsOfVendor } from "../registration.ts";
import { databaseKind } from "./database.ts";

const digitalocean = kindsOfVendor(
  tokenSettings,
  tokenConnection({
    endpoint: "https://api.digitalocean.com",
    variables: ["DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN"],
  }),
  () => import("../../clouds/digitalocean.ts"),
);

export const digitaloceanKinds = {
  ...digitalocean("digitalocean/database", databaseKind, (cloud) => cloud.openTrustedSources),
};
