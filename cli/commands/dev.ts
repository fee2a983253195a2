import type { Settings } from "../../forwarder/settings.ts";
import type { Wiring } from "../../functions/wiring.ts";
import { scopeOf, selectorText } from "../../lib/core/scope.ts";
import type { AdmittedSnapshot } from "../../lib/core/snapshot.ts";
import type { TargetObject } from "../../lib/stores/lease.ts";
import type { Log } from "../../lib/stores/log.ts";
import type { World } from "../../lib/world.ts";
import { claimsOf } from "../claims.ts";
import { durationText } from "../journey-lines.ts";
import { readBackAt } from "../journey-trip.ts";
import { type Labels, labelsOf } from "../labels.ts";
import { paintFor } from "../paint.ts";
import { openWiring, startReceiver } from "../receiver.ts";
import { openJsonLines, openScreen } from "../screen.ts";
import { makeSession, type Session } from "../session.ts";
import { printable, type Shell, sentenceOf, UsageError, untilAborted } from "../shell.ts";
import { type Embedded, type Following, openStage, type Stage } from "../stage.ts";
import { renderSummary, type Summary, summaryOf } from "../summary.ts";

export interface DevOptions {
  readonly config?: string;
  readonly port: number;
  readonly kubeconfig?: string;
  readonly cluster?: string;
  /** Milliseconds. */
  readonly resync: number;
  readonly seconds?: number;
  readonly json?: boolean;
}

const HOST = "127.0.0.1";
const SETTLE_MS_MAX = 5_000;
const SETTLE_PAUSE_MS = 50;

/**
 * Functions, resync and a forwarder in one process, until it is asked to end or time is up. Without
 * a configuration on the stage that `open` makes.
 */
export async function runDev(
  options: DevOptions,
  shell: Shell,
  open: (world: World) => Promise<Stage> = demonstration,
): Promise<number> {
  const { config, kubeconfig, cluster } = options;
  if (config === undefined && (kubeconfig !== undefined || cluster !== undefined)) {
    throw new UsageError(
      "Cannot follow a cluster without a configuration: everything is embedded then; " +
        "name one with --config",
    );
  }
  const { stdout, stderr } = shell;
  // The table and lines of JSON cannot share a terminal, and nobody needs an audit of what is
  // embedded.
  const isEmbedded = config === undefined;
  const auditTo = isEmbedded || (stdout.isTerminal && stderr.isTerminal) ? null : stderr;
  const session = makeSession({ isEmbedded, auditTo });
  const { world, note } = session;
  const stage =
    config === undefined
      ? await open(world)
      : await openStage({ ...options, config }, { shell, world, note });
  try {
    return await perform(stage, options, { shell, session });
  } finally {
    await stage.close();
  }
}

async function demonstration(world: World): Promise<Stage> {
  const { openDemonstration } = await import("../demonstration.ts");
  return openDemonstration(world);
}

interface Performance {
  readonly shell: Shell;
  readonly session: Session;
}

async function perform(
  stage: Stage,
  options: DevOptions,
  { shell, session }: Performance,
): Promise<number> {
  const { world } = session;
  const { config, env, folder, keys, following } = stage;
  const plain = await openWiring({ config, world, env, folder, keys });
  const wiring = listening(plain, following?.cluster ?? null, session);
  const receiver = await startReceiver(wiring, {
    host: HOST,
    port: options.port,
    resyncMs: options.resync,
    firstResyncMs: stage.firstResyncMs,
    onResync(lists) {
      session.hear({ kind: "resynced", at: world.now(), lists });
      session.hearReports(lists);
    },
  });
  const title = titleOf(stage, options, receiver.url);
  const labels = labelsOf(config.lists.flatMap(({ targets }) => targets.map(({ name }) => name)));
  const screen = options.json
    ? openJsonLines(shell, { world, title, labels })
    : openScreen(shell, { world, title, labels });
  session.showOn(screen);
  for (const { target, url } of stage.embedded?.places ?? []) {
    session.note(`${target} is at ${url}`);
  }
  let lastedMs = 0;
  try {
    lastedMs = await live(stage, { shell, session, url: receiver.url, seconds: options.seconds });
  } finally {
    await receiver.close();
    await screen.close();
  }
  const check = stage.embedded?.check({ resyncMs: options.resync }) ?? null;
  const failed = stage.embedded === null ? session.failed() : [];
  const targets = config.lists.flatMap((list) => list.targets);
  const settleMs = new Map(targets.map((one) => [one.name, wiring.traitsOf(one).settleMs]));
  const summary = summaryOf(session.journey(), { lastedMs, settleMs, check });
  tellSummary(summary, { shell, labels, json: options.json ? world.now() : null });
  for (const message of failed) shell.stderr.write(`${printable(message)}\n`);
  return (check === null || check.isGood) && failed.length === 0 ? 0 : 1;
}

/** `json` is the time that a line of JSON bears, or null for text. */
function tellSummary(
  summary: Summary,
  options: { readonly shell: Shell; readonly labels: Labels; readonly json: number | null },
): void {
  const { shell, labels, json } = options;
  const text =
    json === null
      ? renderSummary(summary, { labels, paint: paintFor(shell) })
      : `${JSON.stringify({ at: new Date(json).toISOString(), kind: "summary", ...summary })}\n`;
  shell.stdout.write(text);
  for (const { isGood, sentence } of summary.check?.findings ?? []) {
    if (!isGood) shell.stderr.write(`${sentence}\n`);
  }
}

/**
 * Nodes come and go and are followed, until the end is asked for; then what was seen is brought
 * home. Returns how long it lasted, in milliseconds.
 */
async function live(
  stage: Stage,
  context: Performance & { readonly url: string; readonly seconds: number | undefined },
): Promise<number> {
  const { shell, session, url, seconds } = context;
  const { world } = session;
  const { following, embedded } = stage;
  const ended = new AbortController();
  const ending = AbortSignal.any([shell.signal, shell.stdout.closed, ended.signal]);
  const farewell = new AbortController();
  const failures: unknown[] = [];
  const fail = (error: unknown) => {
    failures.push(error);
    ended.abort();
  };
  const forwarding =
    following === null
      ? Promise.resolve()
      : forward(stage, following, { session, url, signal: farewell.signal }).catch(fail);
  // A play begins when its audience is there, however long that takes, and so does its time.
  if (embedded !== null) await Promise.race([session.begun, untilAborted(ending)]);
  const begunAt = world.now();
  const playing = embedded?.play(ending).catch(fail);
  if (seconds === undefined) await untilAborted(ending);
  else await world.sleep(seconds * 1_000, ending).catch(() => undefined);
  const lastedMs = world.now() - begunAt;
  ended.abort();
  await playing;
  if (failures.length === 0 && embedded !== null) await settle(embedded, session);
  farewell.abort(new Error("the end was asked for"));
  await forwarding;
  const [failure] = failures;
  // A forwarder rejects only for a kubeconfig that cannot be used.
  if (failure instanceof UsageError) throw failure;
  if (failure !== undefined) throw new UsageError(sentenceOf(failure));
  return lastedMs;
}

async function forward(
  stage: Stage,
  following: Following,
  context: { readonly session: Session; readonly url: string; readonly signal: AbortSignal },
): Promise<void> {
  const { session, signal } = context;
  const settings = await settingsOf(stage, following, context.url);
  const { runForwarder } = await import("../../forwarder/main.ts");
  await runForwarder(settings, {
    world: session.world,
    signal,
    kubeConfig: following.kubeConfig,
    onEvent: (event) => session.hearForwarder(event),
  });
}

/**
 * As `forward` would be told, but with the key of this process, and an epoch that is kept in
 * memory.
 */
async function settingsOf(stage: Stage, following: Following, url: string): Promise<Settings> {
  const { parseSettings } = await import("../../forwarder/settings.ts");
  const { cluster, key } = following;
  const scope = scopeOf(stage.config.lists, cluster);
  const reading = parseSettings({
    ...proxiesOf(stage.env),
    KUBE_ALLOWLIST_URL: url,
    KUBE_ALLOWLIST_CLUSTER: cluster,
    KUBE_ALLOWLIST_LABELS: scope.labels.join(","),
    KUBE_ALLOWLIST_PODS: scope.pods.map(selectorText).join("; "),
    KUBE_ALLOWLIST_SECRET_FILE: "none",
  });
  if (reading.kind === "invalid") {
    throw new UsageError("Cannot follow this cluster", reading.problems);
  }
  return {
    ...reading.settings,
    credential: { signing: { kind: "keys", keys: [key] }, tokenFile: null },
    lease: { kind: "memory" },
  };
}

function proxiesOf(env: Shell["env"]): Shell["env"] {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => /^(https?|no)_proxy$/i.test(name)),
  );
}

/**
 * Tells the session what a cluster wants as soon as it became the truth, which is before anything
 * is written, and of each target what came of it as soon as that is remembered, which is before the
 * slowest of them is done.
 */
function listening(wiring: Wiring, cluster: string | null, session: Session): Wiring {
  const { world, policy, traitsOf } = wiring;
  const hear = (snapshot: AdmittedSnapshot) => {
    const at = world.now();
    const claims = claimsOf(snapshot, { policy, traitsOf, now: at });
    session.hear({ kind: "admitted", at, claims });
  };
  const remember = ({ state, slots }: TargetObject) => {
    if (state === "done") session.hear({ kind: "recorded", at: world.now(), slots });
  };
  return {
    ...wiring,
    clusterLog: (name, deadline) => {
      const log = wiring.clusterLog(name, deadline);
      return name === cluster ? overheard(log, hear) : log;
    },
    objectLog: (name, deadline) => overheard(wiring.objectLog(name, deadline), remember),
  };
}

/** The same log, and everything that is appended to it is told. */
function overheard<T>(log: Log<T>, hear: (body: T) => void): Log<T> {
  return {
    ...log,
    async append(after, body) {
      const entry = await log.append(after, body);
      if (entry !== "exists") hear(body);
      return entry;
    },
  };
}

/** Lets what was played last arrive, so that the end shows whole journeys. */
async function settle(embedded: Embedded, { world, journey }: Session): Promise<void> {
  const untilAt = world.now() + SETTLE_MS_MAX;
  while (world.now() < untilAt) {
    const isOnItsWay = journey().trips.some(
      (trip) =>
        trip.end === null &&
        (trip.admittedAt === null || (trip.direction === "arrival" && readBackAt(trip) === null)),
    );
    if (!isOnItsWay && embedded.isHome()) return;
    await world.sleep(SETTLE_PAUSE_MS);
  }
}

/** More targets than this are counted instead of named. */
const TITLE_TARGETS_MAX = 3;

function titleOf(stage: Stage, options: DevOptions, url: string): readonly string[] {
  const { lists } = stage.config;
  const [list, ...others] = lists;
  const only = others.length === 0 ? (list ?? null) : null;
  const names = lists.flatMap(({ targets }) => targets.map(({ name }) => name));
  const where = names.length > TITLE_TARGETS_MAX ? `${names.length} targets` : names.join(", ");
  const what = only === null ? `${lists.length} lists` : only.name;
  const who = stage.following === null ? "deliveries" : `cluster ${stage.following.cluster}`;
  const grace = only === null ? [] : [`grace ${durationText(only.removal.graceMs)}`];
  const how = [...grace, `resync every ${durationText(options.resync)}`, `receiver ${url}`];
  return [`${who} → ${what} on ${where}`, `${how.join(", ")}; Ctrl-C ends it`];
}
