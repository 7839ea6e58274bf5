/**
 * How keys become file names under the root of a file:// store: 'a/b/c' is the file a/b/c, so that a workspace can be
 * read and copied with ordinary tools. Only what is no safe name is escaped, in any segment of the key:
 * - '%', control characters and a leading '.' become %XX, so '.', '..' and the store's own hidden folders never clash;
 * - an empty segment ('a//b', 'a/') is '%';
 * - a segment longer than a file name may be continues in a folder whose name ends in '%+'.
 */
const nameBytesMax = 200;
const continued = '%+';
const empty = '%';

/** Path of a key relative to the root. */
export function keyToPath(key: string): string {
  return key.split('/').map(encodeSegment).join('/');
}

function encodeSegment(segment: string): string {
  if (segment === '') return empty;
  const pieces: string[] = [];
  let piece = '';
  let bytes = 0;
  for (const [index, char] of [...segment].entries()) {
    const safe = isSafe(char, index === 0) ? char : escapeChar(char);
    const length = Buffer.byteLength(safe);
    if (bytes + length > nameBytesMax) {
      pieces.push(piece + continued);
      piece = '';
      bytes = 0;
    }
    // The start of a piece is a file name of its own, so a '.' is escaped there too.
    const placed = piece === '' && safe === '.' ? escapeChar(safe) : safe;
    piece += placed;
    bytes += Buffer.byteLength(placed);
  }
  pieces.push(piece);
  return pieces.join('/');
}

const isSafe = (char: string, first: boolean): boolean =>
  char !== '%' && !(first && char === '.') && char >= ' ' && char !== '\x7f';

const escapeChar = (char: string): string =>
  `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;

/** What one name in a directory stands for; null for names that no key leads to (our hidden folders, strangers). */
export function nameToSegment(name: string): { text: string; continues: boolean } | null {
  if (name.startsWith('.')) return null;
  if (name === empty) return { text: '', continues: false };
  const continues = name.endsWith(continued);
  const escaped = continues ? name.slice(0, -continued.length) : name;
  const text = escaped.replace(/%([0-9A-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return { text, continues };
}

/** The key of a path that `keyToPath` made; null for a path that no key has. */
export function pathToKey(path: string): string | null {
  let key = '';
  let separator = '';
  for (const name of path.split('/')) {
    const segment = nameToSegment(name);
    if (segment === null) return null;
    key += `${separator}${segment.text}`;
    separator = segment.continues ? '' : '/';
  }
  return separator === '' || keyToPath(key) !== path ? null : key;
}
