/** The head of an HTTP/1.1 answer. */
export interface AnswerHead {
  readonly status: number;
  readonly reason: string;
  /** By lower-case name; several of one name are joined by ', '. */
  readonly headers: Record<string, string>;
  /** Of the body; null when the head does not say. */
  readonly length: number | null;
  readonly chunked: boolean;
  /** The connection may be used again after the body. */
  readonly keepsAlive: boolean;
}

/** The head and where the body begins; 'more' until the empty line has come. */
export function parseHead(bytes: Buffer): { head: AnswerHead; end: number } | 'more' | 'malformed' {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return 'more';
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const [, minor, status = '', reason = ''] = /^HTTP\/1\.([01]) (\d{3})(?: (.*))?$/.exec(first) ?? [];
  if (minor === undefined) return 'malformed';
  const headers: Record<string, string> = Object.create(null);
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon < 1) return 'malformed';
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const before = headers[name];
    headers[name] = before === undefined ? value : `${before}, ${value}`;
  }
  const chunked = headers['transfer-encoding']?.toLowerCase().includes('chunked') === true;
  const length = headers['content-length'];
  if (length !== undefined && !/^\d{1,16}$/.test(length)) return 'malformed';
  const connection = headers['connection']?.toLowerCase() ?? '';
  return {
    head: {
      status: Number(status),
      reason,
      headers,
      length: chunked ? null : length !== undefined ? Number(length) : status === '204' ? 0 : null,
      chunked,
      keepsAlive: minor === '1' && !connection.includes('close'),
    },
    end: end + 4,
  };
}

/** A short chunked body without its framing; null while its end has not come. */
export function chunkedBody(bytes: Buffer): Buffer | null {
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = bytes.indexOf('\r\n', at);
    if (line < 0) return null;
    const size = Number.parseInt(bytes.toString('latin1', at, line), 16);
    if (!(size > 0)) return Buffer.concat(chunks);
    const start = line + 2;
    if (start + size + 2 > bytes.length) return null;
    chunks.push(bytes.subarray(start, start + size));
    at = start + size + 2;
  }
}
