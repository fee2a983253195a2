/** Whether a URL leads to this machine by what it says: 127.0.0.0/8, ::1 or localhost. */
export function isLoopback({ hostname }: Pick<URL, "hostname">): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(hostname);
}
