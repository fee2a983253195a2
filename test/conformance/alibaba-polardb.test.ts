import { DATABASE_SKIPS, databaseStage } from "./alibaba-database-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "alibaba/polardb over HTTP",
  make: (options) => databaseStage("polardb", options),
  skip: DATABASE_SKIPS,
});
