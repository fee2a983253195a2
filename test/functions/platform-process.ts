import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";

/** One event, as a platform hands it over. */
export interface Invocation {
  /** JSON, or bytes. */
  readonly event: unknown;
  /** What can be told of it as JSON. */
  readonly context: object;
  /** Lambda's clock; absent where the platform has none. */
  readonly remainingMs?: number;
}

/** A function in a process of its own, as a platform runs it: one event after the other. */
export interface PlatformProcess {
  /** What the handler returned; rejects with what it threw. */
  invoke(invocation: Invocation): Promise<unknown>;
  /** What it wrote to stdout and stderr so far. */
  output(): string;
  /** The lines of its stdout so far; Node's own warnings are not among them. */
  lines(): readonly string[];
  stop(): Promise<void>;
}

const ANSWER_MS_MAX = 40_000;

// Runs on every Node that functions run on, so it is no TypeScript.
const DRIVER = `
const path = process.argv[1];
const loaded = path.endsWith(".cjs") ? Promise.resolve(require(path)) : import(path);
process.on("message", async ({ json, bytes, context, remainingMs }) => {
  try {
    const { handler } = await loaded;
    const event = bytes === undefined ? json : Buffer.from(bytes, "base64");
    if (remainingMs !== undefined) {
      const until = Date.now() + remainingMs;
      context.getRemainingTimeInMillis = () => until - Date.now();
    }
    process.send({ result: await handler(event, context) });
  } catch (error) {
    process.send({ failure: String(error && error.message) });
  }
});
process.send({ ready: process.version });
`;

/** Starts `file` on `node` with exactly this environment, in `folder`. */
export async function startFunction(
  file: string,
  options: {
    readonly node: string;
    readonly folder: string;
    readonly env: Readonly<Record<string, string>>;
  },
): Promise<PlatformProcess> {
  const child = spawn(options.node, ["-e", DRIVER, file], {
    cwd: options.folder,
    env: options.env,
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let output = "";
  let lines = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (stream === child.stdout) lines += text;
    });
  }
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const ended = new Promise<void>((resolve) => {
    child.once("close", () => {
      process.off("exit", kill);
      resolve();
    });
  });
  await answerOf(child, () => output);
  return {
    async invoke({ event, context, remainingMs }) {
      const carried =
        event instanceof Uint8Array
          ? { bytes: Buffer.from(event).toString("base64") }
          : { json: event };
      const answered = answerOf(child, () => output);
      child.send({ ...carried, context, remainingMs });
      const answer = await answered;
      if (answer.failure !== undefined) throw new Error(answer.failure);
      return answer.result;
    },
    output: () => output,
    lines: () => lines.split("\n").filter((line) => line !== ""),
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await ended;
    },
  };
}

interface Answer {
  readonly result?: unknown;
  readonly failure?: string;
}

function answerOf(child: ChildProcess, output: () => string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const done = (settle: () => void) => {
      clearTimeout(timer);
      child.off("message", onMessage).off("close", onClose).off("error", reject);
      settle();
    };
    const onMessage = (message: unknown) => done(() => resolve(message as Answer));
    const onClose = () => done(() => reject(new Error(`The function ended: ${output()}`)));
    const onLate = () => done(() => reject(new Error(`No answer: ${output()}`)));
    const timer = setTimeout(onLate, ANSWER_MS_MAX);
    child.once("message", onMessage).once("close", onClose).once("error", reject);
  });
}

/** An HTTP response of a function, with what every platform needs of one. */
export function responseOf(result: unknown): {
  readonly statusCode: number;
  readonly body: string;
} {
  const response = result as { readonly statusCode: number; readonly body: string };
  assert.equal(typeof response.statusCode, "number", JSON.stringify(result));
  assert.equal(typeof response.body, "string");
  assert.equal((result as { readonly isBase64Encoded: unknown }).isBase64Encoded, false);
  return response;
}
