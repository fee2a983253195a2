/** An answer that is no success. Without a status the connection is cut and nothing is answered. */
export class Ec2Error extends Error {
  override readonly name = "Ec2Error";
  readonly code: string;
  readonly status: number | null;
  readonly retryAfterS: number | null;

  constructor(
    code: string,
    message: string,
    options?: { readonly status?: number | null; readonly retryAfterS?: number },
  ) {
    super(message);
    this.code = code;
    this.status = options?.status === undefined ? 400 : options.status;
    this.retryAfterS = options?.retryAfterS ?? null;
  }
}

export function invalid(message: string): Ec2Error {
  return new Ec2Error("InvalidParameterValue", message);
}

/** The page that a token stands for, and the token of the one after it. */
export function pageFrom<T>(
  all: readonly T[],
  token: string | null,
  itemsMax: number,
): { readonly items: readonly T[]; readonly next: string | null } {
  const first = token === null ? 0 : Number(/^page-(\d{1,9})$/.exec(token)?.[1] ?? "x");
  if (Number.isNaN(first)) throw invalid("Value for parameter nextToken is invalid.");
  const next = first + itemsMax;
  return { items: all.slice(first, next), next: next < all.length ? `page-${next}` : null };
}
