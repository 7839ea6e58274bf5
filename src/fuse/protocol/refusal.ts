/** What the driver itself refuses, before a file system is asked: an errno and the reason in words. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly errno: number;

  constructor(errno: number, message: string) {
    super(message);
    this.errno = errno;
  }
}
