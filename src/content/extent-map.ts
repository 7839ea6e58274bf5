// Skeleton: the types are the contract between content/ and artifacts/; the implementation follows.
/** Where a piece of a staged file's bytes is. A gap between extents is a hole (zeros). */
export type Source =
  /** In the store: key relative to the artifact's prefix. */
  | { readonly type: 'object'; readonly object: string; readonly offset: number }
  /** In staging file `file`, at `offset`. */
  | { readonly type: 'local'; readonly file: number; readonly offset: number };

export interface MapExtent {
  readonly start: number;
  readonly length: number;
  readonly source: Source;
}
