import { DATABASE_SKIPS, databaseStage } from "./alibaba-database-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "alibaba/rds over HTTP",
  make: (options) => databaseStage("rds", options),
  skip: DATABASE_SKIPS,
});
