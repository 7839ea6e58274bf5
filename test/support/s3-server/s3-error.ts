/** An S3 error answer. */
export class S3Error extends Error {
  override readonly name = 'S3Error';
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message = code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const preconditionFailed = (): S3Error =>
  new S3Error(412, 'PreconditionFailed', 'At least one of the preconditions did not hold');

export const invalidArgument = (message: string): S3Error => new S3Error(400, 'InvalidArgument', message);
