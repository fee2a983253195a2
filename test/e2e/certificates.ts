import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "./child.ts";

/** An authority of its own and a certificate for one server, as paths of PEM files. */
export interface Certificates {
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

/** Why there can be no certificates, or false: Node makes keys, but no certificates. */
export function skipWithoutOpenssl(): string | false {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return false;
  } catch {
    return "Cannot make certificates: there is no program openssl; install it";
  }
}

/** Valid for a day, for these names and addresses, as `DNS:hook.example` or `IP:127.0.0.1`. */
export function makeCertificates(names: readonly string[]): Certificates {
  const folder = temporaryFolder("certificates");
  const path = (name: string) => join(folder, name);
  const openssl = (...args: readonly string[]) =>
    execFileSync("openssl", [...args], { cwd: folder, stdio: "ignore" });
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const lasts = ["-days", "1"];
  openssl(
    ...["req", "-x509", ...curve, ...lasts, "-subj", "/CN=Test authority"],
    ...["-keyout", "authority.key", "-out", "authority.crt"],
  );
  openssl(
    ...["req", ...curve, "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr"],
  );
  writeFileSync(path("names"), `subjectAltName=${names.join(",")}\n`);
  openssl(
    ...["x509", "-req", "-in", "server.csr", "-CA", "authority.crt", "-CAkey", "authority.key"],
    ...["-CAcreateserial", ...lasts, "-extfile", "names", "-out", "server.crt"],
  );
  return {
    authority: path("authority.crt"),
    certificate: path("server.crt"),
    key: path("server.key"),
  };
}
