/** What the browser may do with what the server gives it. */

const common = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** The server's own page: its script, its style sheet and its scene, and what Spark needs (worker from a blob, WebAssembly). */
export const viewerPagePolicy =
  `default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; worker-src blob:; img-src data:; ${common}`;

/** Anything that is no page. */
export const filePolicy = `default-src 'none'; sandbox; ${common}`;

/** A page from elsewhere: text, pictures inside it and its style. */
const plainPagePolicy = `default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; ${common}`;

/** A page's own policy stands within so many bytes of its beginning. */
export const policyBytes = 16_384;

const directives = new Set(['default-src', 'img-src', 'style-src', 'script-src', 'worker-src', 'base-uri', 'form-action']);
/** Sources that cannot reach beyond the page itself. */
const harmless = /^(?:'none'|data:|blob:|'wasm-unsafe-eval'|'sha256-[A-Za-z0-9+/]{43}=')$/;

/**
 * A report's policy: its own, when all that it allows lies in the page and is named by hash; else one without scripts,
 * for a folder may come from anybody. Either way the page is a sandbox of its own origin, which cannot read other files.
 * @param head the beginning of the page
 */
export function reportPolicy(head: string): string {
  const own = /<meta http-equiv="Content-Security-Policy" content="([^"]{1,4000})">/.exec(head)?.[1];
  if (own === undefined) return plainPagePolicy;
  const rules = own.split(';').map((rule) => rule.trim().split(/\s+/));
  const strict =
    rules[0][0] === 'default-src' &&
    rules[0].slice(1).join() === "'none'" &&
    rules.every(([name, ...sources]) => directives.has(name) && sources.every((source) => harmless.test(source)));
  return strict ? `${own}; frame-ancestors 'none'; sandbox allow-scripts allow-downloads` : plainPagePolicy;
}
