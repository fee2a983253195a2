import { constants, generateKeyPairSync, type KeyObject, sign } from "node:crypto";

/** A cluster's issuer of tokens, which can also be made to issue what no cluster would. */
export interface Issuer {
  readonly url: string;
  /** Public keys, as JSON Web Keys. */
  readonly keys: readonly object[];
  readonly keySet: string;
  readonly privateKey: KeyObject;
  /** The public key as PEM: what confused libraries take for a shared secret. */
  readonly pem: string;
  /** A token with these claims and header members instead of or beside the usual ones. */
  token(claims?: object, header?: object): string;
}

export interface IssuerOptions {
  readonly url?: string;
  readonly kind?: "RSA" | "EC";
  readonly id?: string | null;
  readonly bits?: number;
  readonly curve?: string;
}

export const ISSUER = "https://oidc.example/id/eu";
export const AUDIENCE = "https://hook.example";
export const SUBJECT = "system:serviceaccount:kube-allowlist:forwarder";
/** 2026-11-20T21:00:00Z */
export const NOW = Date.UTC(2026, 10, 20, 21);
export const NOW_S = NOW / 1_000;

/** Claims as an API server writes them for a token of ten minutes. */
export const CLAIMS = {
  aud: [AUDIENCE],
  exp: NOW_S + 600,
  iat: NOW_S,
  iss: ISSUER,
  jti: "d9a5b1f0-0000-4000-8000-000000000000",
  "kubernetes.io": {
    namespace: "kube-allowlist",
    serviceaccount: { name: "forwarder", uid: "9f4c0000-0000-4000-8000-000000000000" },
  },
  nbf: NOW_S,
  sub: SUBJECT,
};

export function encode(value: unknown): string {
  return Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString(
    "base64url",
  );
}

/** Header, claims and a signature over them with this key, as the algorithm has it. */
export function compact(header: object, claims: unknown, key: KeyObject): string {
  const signed = `${encode(header)}.${encode(claims)}`;
  const signature =
    key.asymmetricKeyType === "rsa"
      ? sign("sha256", Buffer.from(signed), { key, padding: constants.RSA_PKCS1_PADDING })
      : sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}

export function makeIssuer(options: IssuerOptions = {}): Issuer {
  const { url = ISSUER, kind = "RSA", id = "key-1", bits = 2_048, curve = "P-256" } = options;
  const { publicKey, privateKey } =
    kind === "RSA"
      ? generateKeyPairSync("rsa", { modulusLength: bits })
      : generateKeyPairSync("ec", { namedCurve: curve });
  const alg = kind === "RSA" ? "RS256" : "ES256";
  const named = id === null ? {} : { kid: id };
  const keys = [{ ...publicKey.export({ format: "jwk" }), use: "sig", alg, ...named }];
  return {
    url,
    keys,
    keySet: JSON.stringify({ keys }),
    privateKey,
    pem: publicKey.export({ type: "spki", format: "pem" }).toString(),
    token: (claims = {}, header = {}) =>
      compact({ alg, ...named, ...header }, { ...CLAIMS, iss: url, ...claims }, privateKey),
  };
}
