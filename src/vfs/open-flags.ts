/** open(2) flags of Linux, as the kernel sends them on every architecture that Node runs on. */
const O_ACCMODE = 0o3;
export const O_RDONLY = 0o0;
export const O_WRONLY = 0o1;
export const O_RDWR = 0o2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
/** Linux' __FMODE_EXEC: opened by execve, and kept open while the program runs. */
export const O_EXEC = 0o40;

export const wantsWrite = (flags: number): boolean => (flags & O_ACCMODE) !== O_RDONLY;
/** Opening changes the file: for writing, or by emptying it. */
export const wantsChange = (flags: number): boolean => wantsWrite(flags) || (flags & O_TRUNC) !== 0;
