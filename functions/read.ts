import middy from "@middy/core";
import { feedRoute, showFeed } from "./feed.ts";
import type { HttpRequest, HttpResponse } from "./http.ts";
import { concludeReading, measuredRuns } from "./measured.ts";
import { httpEvent } from "./middleware/event.ts";
import { problems } from "./middleware/problems.ts";
import { type PlatformHandler, platformEntry } from "./platform.ts";
import { STATUS_PATH, showStatus } from "./status.ts";
import type { Wiring } from "./wiring.ts";

/**
 * All that can be read, `GET /v1/status` and `GET /v1/lists/<list>.<format>`, in one function whose
 * role may not write anything. Other paths are answered as the feed's are.
 */
export function makeRead(wiring: Wiring) {
  const handler = middy({ timeoutEarlyInMillis: 0 })
    .use(problems(wiring.world.log, (path) => (isStatus(path) ? path : feedRoute(wiring, path))))
    .use(httpEvent())
    .handler((event: unknown) => {
      const request = event as HttpRequest;
      return isStatus(request.path) ? showStatus(wiring, request) : showFeed(wiring, request);
    });
  return measuredRuns<HttpResponse>(wiring, {
    handler,
    conclude: concludeReading,
    message: "Measured a reading",
  });
}

/** The platform's entry. */
export const handler: PlatformHandler = platformEntry(makeRead);

function isStatus(path: string): boolean {
  return path === STATUS_PATH;
}
