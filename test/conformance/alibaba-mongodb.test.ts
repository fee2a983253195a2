import { DATABASE_SKIPS, databaseStage } from "./alibaba-database-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "alibaba/mongodb over HTTP",
  make: (options) => databaseStage("mongodb", options),
  skip: DATABASE_SKIPS,
});
