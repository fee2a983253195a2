import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { parseDuration } from "../lib/config/shape.ts";
import manifest from "../package.json" with { type: "json" };
import { type Shell, sayError } from "./shell.ts";

const PORT_DEFAULT = 8787;
const PORT_MAX = 65_535;
const RESYNC_MS_MIN = 1_000;
const RESYNC_MS_MAX = 3_600_000;
const SECONDS_MAX = 86_400;

/**
 * Runs one command line and returns its exit code: 2 for what cannot be used, 1 for what went
 * wrong.
 */
export async function runProgram(shell: Shell): Promise<number> {
  let code = 0;
  const program = makeProgram(shell, (result) => {
    code = result;
  });
  try {
    await program.parseAsync(shell.args, { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    return sayError(shell.stderr, error);
  }
}

type Done = (code: number) => void;

function makeProgram(shell: Shell, done: Done): Command {
  const program = new Command("kube-allowlist")
    .description(manifest.description)
    .version(manifest.version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => shell.stdout.write(text),
      writeErr: (text) => shell.stderr.write(text),
      getOutHelpWidth: () => shell.stdout.size().columns,
      getErrHelpWidth: () => shell.stderr.size().columns,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .helpCommand("help [command]", "the same as --help")
    .showHelpAfterError("(--help tells more)")
    .addHelpText(
      "after",
      examples([
        ["kube-allowlist dev", "see it work: a cluster and three targets in this process"],
        [
          "kube-allowlist dev --config allowlist.yaml --kubeconfig ~/.kube/config",
          "follow your own",
        ],
        ["kube-allowlist serve --config allowlist.yaml", "take deliveries in production"],
        ["kube-allowlist plan --config allowlist.yaml", "what would change?"],
      ]),
    );
  addDev(program, shell, done);
  addServe(program, shell, done);
  addForward(program, shell, done);
  addPlan(program, shell, done);
  addSync(program, shell, done);
  addVerify(program, shell, done);
  addStatus(program, shell, done);
  addDoctor(program, shell, done);
  addIam(program, shell, done);
  return program;
}

function addDev(program: Command, shell: Shell, done: Done): void {
  program
    .command("dev")
    .summary("functions, resync and a forwarder in one process on this machine")
    .description(
      "Runs the functions on a local server (127.0.0.1) with a resync every few seconds, " +
        "and a forwarder beside them. Without --config everything is embedded: a cluster " +
        "whose nodes come and go; a security group, an RDS instance and a Linode firewall that " +
        "follow them; a memory store. " +
        "With --config it writes to the real targets; the forwarder follows the cluster of " +
        "--kubeconfig and no other. Exit code 1 when the embedded targets are not what they " +
        "should be at the end, or one of your own is failed.",
    )
    .option("--config <file>", "the receiver's configuration; without it everything is embedded")
    .addOption(portOption())
    .option("--kubeconfig <file>", "follow this cluster; never taken from the environment")
    .option("--cluster <name>", "which configured cluster that is, where there are several")
    .addOption(resyncOption("10s"))
    .option("--seconds <number>", "end after this time, with a summary", parseSeconds)
    .option("--json", "one JSON object a line")
    .addHelpText(
      "after",
      examples([
        ["kube-allowlist dev", "the demonstration, until Ctrl-C"],
        [
          "kube-allowlist dev --seconds 20",
          "the same for 20 seconds; exit code 1 if a target went wrong",
        ],
        [
          "kube-allowlist dev --config allowlist.yaml --kubeconfig kind.yaml --cluster staging",
          "a real cluster and real targets",
        ],
      ]),
    )
    .action(async (options) =>
      done(await (await import("./commands/dev.ts")).runDev(options, shell)),
    );
}

// An unset variable in a script must not make the server listen everywhere.
function readHost(text: string): string {
  if (text.trim() !== "") return text;
  throw new InvalidArgumentError("It is empty; name an address like 127.0.0.1 or 0.0.0.0.");
}

function readPlanId(text: string): string {
  if (!text.startsWith("-")) return text;
  throw new InvalidArgumentError("It is no plan id; take it from the last line of plan.");
}

function addServe(program: Command, shell: Shell, done: Done): void {
  program
    .command("serve")
    .summary("the receiver in production, without a function platform")
    .description(
      "Takes signed deliveries at POST /v1/snapshots, tells GET /v1/status and GET " +
        "/healthz, and resyncs. Audit lines go to stdout, everything else to stderr, all as " +
        "JSON; KUBE_ALLOWLIST_LOG_LEVEL is debug, info, warn or error. Put TLS in front of it " +
        "where it listens beyond this machine.",
    )
    .addOption(configOption())
    .addOption(portOption())
    .addOption(
      new Option("--host <host>", "address to listen on").default("127.0.0.1").argParser(readHost),
    )
    .addOption(resyncOption("1m"))
    .addHelpText(
      "after",
      examples([
        ["kube-allowlist serve --config allowlist.yaml", "on 127.0.0.1, behind a proxy with TLS"],
        ["kube-allowlist serve --host 0.0.0.0 --port 8080 --resync 30s", "in a container"],
      ]),
    )
    .action(async (options) =>
      done(await (await import("./commands/serve.ts")).runServe(options, shell)),
    );
}

function addForward(program: Command, shell: Shell, done: Done): void {
  program
    .command("forward")
    .summary("the forwarder alone: follow one cluster and deliver its nodes")
    .description(
      "Watches the nodes of one cluster and delivers them to a receiver, with a token of its " +
        "service account, or signed, or both. Runs in the cluster; outside of it, name a " +
        "kubeconfig. Every flag but --kubeconfig is also a variable: --url is " +
        "KUBE_ALLOWLIST_URL. Logs JSON to stderr.",
    )
    .option("--url <url>", "the receiver, as https://hook.example/v1/snapshots")
    .option("--cluster <name>", "the cluster's name in the receiver's configuration")
    .option("--token-file <file>", "token of a projected volume, with the receiver's audience")
    .option("--secret-file <file>", "whsec_ keys to sign with, one a line")
    .option("--labels <keys>", "keys of the labels to send, separated by commas")
    .option("--pods <selectors>", "pods to send, too, as pay/app=api,tier=web; ops")
    .option("--lease <lease>", "NAMESPACE/NAME of the Lease by which several take turns")
    .option("--heartbeat <duration>", "how often to repeat the truth, 10s to 10m (default: 5m)")
    .option(
      "--gate <mark>",
      "keep nodes free of pods until they may be reached: taint, a taint's key or condition",
    )
    .option(
      "--gate-timeout <duration>",
      "let them go after this, 1m to 24h or never (default: 10m)",
    )
    .option("--listen <address>", "PORT or HOST:PORT for probes and metrics")
    .option("--kubeconfig <file>", "outside of the cluster: where it is")
    .addHelpText(
      "after",
      examples([
        [
          "kube-allowlist forward --url https://hook.example/v1/snapshots --cluster prod-eu " +
            "--token-file /var/run/secrets/kube-allowlist/token",
          "in the cluster prod-eu",
        ],
        [
          "kube-allowlist forward --url https://hook.example --cluster prod-eu --secret-file " +
            "prod-eu.key --kubeconfig prod-eu.yaml",
          "from outside of it, signed",
        ],
      ]),
    )
    .action(async (options) =>
      done(await (await import("./commands/forward.ts")).runForward(options, shell)),
    );
}

function addPlan(program: Command, shell: Shell, done: Done): void {
  program
    .command("plan")
    .summary("what a resync would change now; changes nothing")
    .description(
      "Reads the stored snapshots and every target, asks the subnets and names of the lists, " +
        "and judges as a resync would: + is added or withheld, - removed or withheld, ~ leaves " +
        "after its grace, ! was refused. The plan id names exactly these removals.",
    )
    .addOption(configOption())
    .option("--check", "exit code 1 when something would change")
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples([
        ["kube-allowlist plan --config allowlist.yaml", "for people"],
        ["kube-allowlist plan --json | jq '.lists[] | {list, add, remove}'", "for programs"],
      ]),
    )
    .action(async (options) =>
      done(await (await import("./commands/plan.ts")).runPlan(options, shell)),
    );
}

function addSync(program: Command, shell: Shell, done: Done): void {
  program
    .command("sync")
    .summary("bring every target to its list now, removals included")
    .description(
      "Does what plan shows, from the stored snapshots, under the leases of the targets. " +
        "Exit code 0 when all is converged or pending, 1 when something was withheld or " +
        "failed. Audit lines go to stderr.",
    )
    .addOption(configOption())
    .option(
      "--accept-removals <plan id>",
      "carry out exactly the removals that plan showed under this id",
      readPlanId,
    )
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples([
        ["kube-allowlist sync --config allowlist.yaml", "once, now"],
        [
          "kube-allowlist sync --accept-removals 3f2a90c1d4be",
          "what the guard withheld, after a look at plan",
        ],
      ]),
    )
    .action(async (options) =>
      done(await (await import("./commands/sync.ts")).runSync(options, shell)),
    );
}

function addVerify(program: Command, shell: Shell, done: Done): void {
  program
    .command("verify")
    .summary("exit code 1 when a target is not what its list says; changes nothing")
    .description(
      "Compares every target with the stored snapshots, and asks the subnets and names of the " +
        "lists. Missing entries and own entries that nobody wants are drift; entries in their " +
        "grace, and surplus of lists that only add, are not. A target that cannot be read is " +
        "not verified, which is exit code 1, too.",
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples([["kube-allowlist verify --config allowlist.yaml || alert", "from a schedule"]]),
    )
    .action(async (options) =>
      done(await (await import("./commands/verify.ts")).runVerify(options, shell)),
    );
}

function addStatus(program: Command, shell: Shell, done: Done): void {
  program
    .command("status")
    .summary("states of every list, from the store alone")
    .description(
      "Tells what the last runs found: every list on every target is converged, pending, " +
        "withheld or failed, with the reason and a way out. Calls no target.",
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples([
        ["kube-allowlist status --config allowlist.yaml", "for people"],
        ["kube-allowlist status --json | jq -r '.lists[].state'", "for programs"],
      ]),
    )
    .action(async (options) =>
      done(await (await import("./commands/status.ts")).runStatus(options, shell)),
    );
}

function addDoctor(program: Command, shell: Shell, done: Done): void {
  const doctor = program
    .command("doctor")
    .summary("looks into what a configuration depends on")
    .description("Looks into what a configuration depends on; changes nothing.");
  doctor
    .command("jwks")
    .summary("a cluster's issuer and the public keys of its tokens, to pin them")
    .description(
      "Prints the issuer of a cluster's service-account tokens and its public keys, as the " +
        "configuration takes them: jwks: file:PATH. Asks the API server of the kubeconfig, or " +
        "the issuer itself, as a receiver would that discovers them. Hints go to stderr. Exit " +
        "code 1 when they cannot be had.",
    )
    .option("--kubeconfig <file>", "ask this cluster's API server")
    .option("--issuer <url>", "ask this issuer, over the internet")
    .addHelpText(
      "after",
      examples([
        ["kube-allowlist doctor jwks --kubeconfig prod-eu.yaml > prod-eu.jwks.json", "pin them"],
        [
          "kube-allowlist doctor jwks --issuer https://oidc.eks.eu-west-1.amazonaws.com/id/AB12",
          "from where the receiver runs: can it discover them?",
        ],
      ]),
    )
    .action(async (options) =>
      done(await (await import("./commands/doctor-jwks.ts")).runDoctorJwks(options, shell)),
    );
}

function addIam(program: Command, shell: Shell, done: Done): void {
  program
    .command("iam")
    .summary("exactly what each function may do: policies, trust policies, scopes of tokens")
    .description(
      "Prints the policy of each function and of each role that targets name, from the " +
        "configuration alone: resources by their ARNs, no permission to remove for the webhook, " +
        "whom such a role must trust, and the scopes of vendors' tokens. Calls nobody. Notes " +
        "about what cannot work go to stderr.",
    )
    .addOption(configOption())
    .addOption(
      new Option("--platform <name>", "policies of this vendor alone").choices(["aws", "alibaba"]),
    )
    .option("--account <number>", "of the functions: 12 digits for AWS, 16 for Alibaba Cloud")
    .option("--partition <name>", "of the functions on AWS (default: that of the region)")
    .option("--region <name>", "of the functions on AWS (default: that of the bucket)")
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples([
        ["kube-allowlist iam --config allowlist.yaml --account 123456789012", "for people"],
        [
          "kube-allowlist iam --json | jq '.assumed[] | {arn, policy, trust}'",
          "what other accounts must set up",
        ],
      ]),
    )
    .action(async (options) =>
      done(await (await import("./commands/iam.ts")).runIam(options, shell)),
    );
}

function configOption(): Option {
  return new Option("--config <file>", "the receiver's configuration (default: ./allowlist.yaml)");
}

function jsonOption(): Option {
  return new Option("--json", "one JSON document on stdout");
}

function portOption(): Option {
  return new Option("--port <number>", "port to listen on, 0 for a free one")
    .default(PORT_DEFAULT)
    .argParser((text) => wholeNumber(text, 0, PORT_MAX));
}

function resyncOption(given: string): Option {
  return new Option("--resync <duration>", "how often to resync, 1s to 1h")
    .default(parseDuration(given), given)
    .argParser((text) => {
      const ms = parseDuration(text);
      if (ms !== null && ms >= RESYNC_MS_MIN && ms <= RESYNC_MS_MAX) return ms;
      throw new InvalidArgumentError('Write it like "10s" or "1m", from 1s to 1h.');
    });
}

function parseSeconds(text: string): number {
  return wholeNumber(text, 1, SECONDS_MAX);
}

function wholeNumber(text: string, from: number, to: number): number {
  const number = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
  if (number >= from && number <= to) return number;
  throw new InvalidArgumentError(`Write a whole number from ${from} to ${to}.`);
}

function examples(lines: readonly (readonly [command: string, meaning: string])[]): string {
  const shown = lines.map(([command, meaning]) => `  ${command}\n      ${meaning}`);
  return `\nExamples:\n${shown.join("\n")}`;
}
