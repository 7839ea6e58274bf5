const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

export const escapeXml = (text: string): string =>
  text.replace(/[&<>"'\r]/g, (char) => `&#${char.charCodeAt(0)};`);

const unescapeXml = (text: string): string =>
  text.replace(/&(#x?[0-9a-fA-F]+|\w+);/g, (whole, entity: string) => {
    if (entity.startsWith('#x')) return String.fromCodePoint(Number.parseInt(entity.slice(2), 16));
    if (entity.startsWith('#')) return String.fromCodePoint(Number(entity.slice(1)));
    return entities[entity] ?? whole;
  });

/** Contents of all `<tag>...</tag>`: enough for the documents S3 takes, which repeat tags but never nest them. */
export const elements = (xml: string, tag: string): string[] =>
  [...xml.matchAll(new RegExp(`<${tag}(?:\\s[^>]*)?>(.*?)</${tag}>`, 'gs'))].map(([, inner = '']) => inner);

export function textOf(xml: string, tag: string): string | undefined {
  const [first] = elements(xml, tag);
  return first === undefined ? undefined : unescapeXml(first.trim());
}

export type XmlValue = string | number | boolean | undefined;

/** `<tag>value</tag>` of each pair that has a value. */
export const tags = (pairs: Readonly<Record<string, XmlValue>>): string =>
  Object.entries(pairs)
    .map(([tag, value]) => (value === undefined ? '' : `<${tag}>${escapeXml(String(value))}</${tag}>`))
    .join('');

export const xmlDocument = (root: string, inner: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<${root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${inner}</${root}>`;
