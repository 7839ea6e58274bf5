import type { RouteOptions } from 'fastify';
import { ArtifactError } from '../model/errors.js';
import type { Server } from './typed-server.js';

type Validate = ReturnType<NonNullable<RouteOptions['validatorCompiler']>>;
type Serialize = ReturnType<NonNullable<RouteOptions['serializerCompiler']>>;

/**
 * For the hook `onRoute`: lets a route compile its schemas when it is first asked. A daemon is asked few of them, and to compile all
 * takes longer than all else of a server. They are compiled as Fastify does it by itself: by the compilers of `like`, which
 * has them when the server is ready, because it has routes that are not compiled late.
 */
export function compileLate(like: () => Server): (route: RouteOptions) => void {
  return (route) => {
    route.validatorCompiler = (schema) => {
      let validate: Validate | undefined;
      const late: Validate = (data: unknown) => {
        validate ??= compilerOf(like().validatorCompiler)(schema);
        const isValid = validate(data);
        late.errors = validate.errors ?? null;
        return isValid;
      };
      return late;
    };
    route.serializerCompiler = (schema) => {
      let serialize: Serialize | undefined;
      return (data: unknown) => {
        serialize ??= compilerOf(like().serializerCompiler)(schema);
        return serialize(data);
      };
    };
  };
}

function compilerOf<T>(compiler: T | undefined): T {
  if (compiler === undefined) throw new ArtifactError('Internal', 'the control API is not ready');
  return compiler;
}
