"""Who may do what, said by one line for each thing tried: permissions.py SCENARIO DIRECTORY UID_A UID_B UID_C GID.

Run on a local disk and on a mount, as root or (the scenarios that need no second user) as anybody: both must print the
same. A and B are ordinary users with a group of their own of the same number, C is one more, A and C are in GID, too.
"""

import errno
import os
import stat
import struct
import subprocess
import sys
import time

scenario, directory = sys.argv[1:3]
A, B, C, G = (int(n) for n in sys.argv[3:7])
os.chdir(directory)
os.umask(0)
groups = {A: [A, G], B: [B], C: [C, G]}


def say(*words):
    print(*words, flush=True)


def outcome(action):
    try:
        result = action()
        return 'ok' if result is None else result
    except OSError as error:
        return errno.errorcode[error.errno]


def attempt(what, action):
    say(what, '->', outcome(action))


def as_user(uid, action):
    """The outcome of an action in a process of that user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        if uid != 0:
            os.setgroups(groups[uid])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        os.write(writer, str(outcome(action)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def try_as(uid, what, action):
    name = {0: 'root', A: 'A', B: 'B', C: 'C'}[uid]
    say(f'{name}: {what} ->', as_user(uid, action))


def mode(path):
    return oct(stat.S_IMODE(os.lstat(path).st_mode))


def make(path, bits=0o644, text='text'):
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, bits)
    os.write(fd, text.encode())
    os.close(fd)
    return path


def owned(path, uid, gid, bits, text='text'):
    make(path, text=text)
    os.chown(path, uid, gid)
    os.chmod(path, bits)
    return path


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    names = {A: 'A', B: 'B', C: 'C', G: 'G'}
    text = done.stdout
    for number, name in names.items():
        text = text.replace(f':{number}:', f':{name}:')
    return text.strip()


def acl(path):
    """In one line, without the header."""
    lines = run('getfacl', '-n', '-p', '-c', '--', path).split('\n')
    return f'{path} {mode(path)} ' + ' '.join(''.join(line.split('\t')) for line in lines if line)


def set_acl(*words):
    text = run('setfacl', *words)
    if text:
        say('setfacl', *words[:-1], '->', text.split(': ')[-1])


def read(path):
    return lambda: open(path).read()


def append(path):
    def act():
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b'+')
        os.close(fd)

    return act


def entries(*rows):
    """An ACL as the kernel takes it: (tag, permissions, id)."""
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *row) for row in rows)


NONE = 0xFFFFFFFF
ACCESS, DEFAULT = 'system.posix_acl_access', 'system.posix_acl_default'
plain = [(1, 6, NONE), (4, 4, NONE), (0x20, 4, NONE)]


def acls():
    """What setfacl, chmod and getfacl make of each other."""
    f = make('f')
    d = 'd'
    os.mkdir(d, 0o755)
    say(acl(f))
    set_acl('-m', f'u:{A}:rw', f)
    say(acl(f))
    for bits in (0o600, 0o640, 0o664, 0o777, 0o4751, 0):
        os.chmod(f, bits)
        say(oct(bits), acl(f))
    os.chmod(f, 0o644)
    set_acl('-m', f'u:{A}:rwx,g:{G}:r,m::r', f)
    say(acl(f))
    set_acl('-x', f'u:{A}', f)
    say(acl(f))
    set_acl('-b', f)
    say(acl(f), outcome(lambda: os.getxattr(f, ACCESS)))
    # What a mode can say is not kept as an ACL.
    os.setxattr(f, ACCESS, entries((1, 7, NONE), (4, 5, NONE), (0x20, 1, NONE)))
    say(acl(f), outcome(lambda: os.getxattr(f, ACCESS)), os.listxattr(f))
    set_acl('-m', f'u:{A}:r', f)
    say(acl(f), os.listxattr(f))
    os.setxattr(f, ACCESS, entries())
    say(acl(f), os.listxattr(f))
    attempt('remove none', lambda: os.removexattr(f, ACCESS))
    set_acl('-d', '-m', f'u:{A}:rwx,g:{G}:rx', d)
    say(acl(d), os.listxattr(d))
    set_acl('-k', d)
    say(acl(d), os.listxattr(d))
    os.mkfifo('p', 0o640)
    set_acl('-m', f'u:{B}:rw', 'p')
    say(acl('p'))
    before = os.stat(f).st_ctime_ns
    time.sleep(0.02)
    set_acl('-m', f'u:{B}:rw', f)
    say('ctime', os.stat(f).st_ctime_ns > before)


def malformed():
    f = make('f')
    os.mkdir('d')
    os.symlink('f', 'l')
    cases = {
        'empty': b'',
        'short': b'\2\0\0',
        'version 1': struct.pack('<I', 1) + entries(*plain)[4:],
        'half an entry': entries(*plain) + b'\1\0',
        'no owner': entries(*plain[1:]),
        'no others': entries(*plain[:2]),
        'two owners': entries(plain[0], *plain),
        'order': entries(plain[1], plain[0], plain[2]),
        'no mask': entries(plain[0], (2, 6, A), *plain[1:]),
        'mask only': entries(*plain[:2], (0x10, 6, NONE), plain[2]),
        'permissions': entries((1, 8, NONE), *plain[1:]),
        'tag': entries(*plain[:2], (0x40, 6, NONE), plain[2]),
        'good': entries(plain[0], (2, 6, A), plain[1], (0x10, 6, NONE), plain[2]),
    }
    for name, value in cases.items():
        attempt(name, lambda: os.setxattr(f, ACCESS, value))
        attempt(f'{name}, default', lambda: os.setxattr('d', DEFAULT, value))
    say(acl(f), acl('d'))
    attempt('default of a file', lambda: os.setxattr(f, DEFAULT, cases['good']))
    attempt('of a symlink', lambda: os.setxattr('l', ACCESS, cases['good'], follow_symlinks=False))
    attempt('read of a symlink', lambda: os.getxattr('l', ACCESS, follow_symlinks=False))
    attempt('removed of a symlink', lambda: os.removexattr('l', ACCESS, follow_symlinks=False))


def inherits():
    """Default ACLs take the place of the umask."""
    os.mkdir('d', 0o755)
    os.mkdir('none', 0o755)
    set_acl('-d', '-m', f'u::rwx,g::rx,o::-,u:{A}:rwx,m::rwx', 'd')
    os.mkdir('plain', 0o755)
    set_acl('-d', '-m', 'u::rwx,g::rx,o::-', 'plain')
    for mask in (0, 0o022, 0o077, 0o777):
        os.umask(mask)
        for at in ('d', 'none', 'plain'):
            for bits in (0o666, 0o640, 0o777, 0o400):
                name = f'{at}/f{mask:o}-{bits:o}'
                os.close(os.open(name, os.O_CREAT | os.O_RDWR, bits))
                say(acl(name))
            for bits in (0o777, 0o2750, 0o1700):
                name = f'{at}/d{mask:o}-{bits:o}'
                os.mkdir(name, bits)
                say(acl(name))
            os.mkfifo(f'{at}/p{mask:o}', 0o666)
            say(acl(f'{at}/p{mask:o}'))
            os.symlink('x', f'{at}/l{mask:o}')
            say(mode(f'{at}/l{mask:o}'))
            fd = os.open(at, os.O_TMPFILE | os.O_RDWR, 0o666)
            here = os.open('.', os.O_RDONLY)  # with it Python follows the link
            os.link(f'/proc/self/fd/{fd}', f'{at}/t{mask:o}', src_dir_fd=here)
            os.close(here)
            os.close(fd)
            say(acl(f'{at}/t{mask:o}'))
    os.umask(0)
    make('d/d0-777/deep', 0o666)
    say(acl('d/d0-777/deep'))


def enforced():
    """The kernel looks at the ACL, not only at the mode."""
    f = owned('f', A, A, 0o640)
    for uid in (A, B, C, 0):
        try_as(uid, 'read', read(f))
        try_as(uid, 'append', append(f))
    set_acl('-m', f'u:{B}:rw,g:{G}:r', f)
    say(acl(f))
    for uid in (A, B, C, 0):
        try_as(uid, 'read', read(f))
        try_as(uid, 'append', append(f))
        try_as(uid, 'access', lambda: os.access(f, os.W_OK))
    os.chmod(f, 0o600)
    for uid in (A, B, C):
        try_as(uid, 'read, mask none', read(f))
    set_acl('-b', f)
    os.chmod(f, 0o644)
    set_acl('-m', f'u:{B}:-', f)
    for uid in (B, C):
        try_as(uid, 'read, B refused', read(f))
    set_acl('-x', f'u:{B}', f)
    try_as(B, 'read, again', read(f))
    os.mkdir('d', 0o700)
    make('d/in')
    try_as(B, 'into', read('d/in'))
    set_acl('-m', f'u:{B}:x', 'd')
    try_as(B, 'into', read('d/in'))
    try_as(B, 'list', lambda: os.listdir('d'))
    try_as(B, 'make', lambda: make('d/new'))
    set_acl('-m', f'u:{B}:rwx', 'd')
    try_as(B, 'make', lambda: make('d/new'))
    try_as(B, 'remove', lambda: os.unlink('d/in'))
    # Only the owner changes an ACL.
    owned('g', A, A, 0o666)
    value = entries(plain[0], (2, 6, A), plain[1], (0x10, 6, NONE), plain[2])
    for uid in (B, A):
        try_as(uid, 'set', lambda: os.setxattr('g', ACCESS, value))
        try_as(uid, 'remove', lambda: os.removexattr('g', ACCESS))


def setgid():
    """Setgid goes when somebody outside the group changes mode or ACL."""
    value = entries((1, 7, NONE), (2, 6, B), (4, 5, NONE), (0x10, 7, NONE), (0x20, 5, NONE))
    plainer = entries((1, 7, NONE), (4, 5, NONE), (0x20, 5, NONE))
    for gid in (A, B, G):
        for new in (value, plainer):
            name = f'acl-{gid == A}-{gid == G}-{len(new)}'
            owned(name, A, gid, 0o2755)
            try_as(A, 'set the ACL', lambda: os.setxattr(name, ACCESS, new))
            say(name, mode(name))
            os.chmod(name, 0o2755)
            os.setxattr(name, ACCESS, new)
            say('root', name, mode(name))
        name = f'chmod-{gid == A}-{gid == G}'
        owned(name, A, gid, 0o755)
        try_as(A, 'chmod', lambda: os.chmod(name, 0o6755))
        say(name, mode(name))
    os.mkdir('d', 0o777)
    os.chown('d', A, G)
    os.chmod('d', 0o2777)
    for uid in (0, A, B, C):
        name = f'd/{"rABC"[[0, A, B, C].index(uid)]}'

        def made():
            make(name, 0o2775)
            os.mkdir(name + 'd', 0o755)

        try_as(uid, 'make', made)
        for path in (name, name + 'd'):
            about = os.stat(path)
            say(path, mode(path), about.st_uid == uid, about.st_gid == G)


def sticky():
    os.mkdir('d', 0o777)
    os.chmod('d', 0o1777)
    for uid in (A, B):
        owned(f'd/of{"AB"[uid == B]}', uid, uid, 0o666)
        os.mkdir(f'd/dir{"AB"[uid == B]}')
        os.chown(f'd/dir{"AB"[uid == B]}', uid, uid)
    try_as(B, 'remove of A', lambda: os.unlink('d/ofA'))
    try_as(B, 'rename of A', lambda: os.rename('d/ofA', 'd/x'))
    try_as(B, 'rename over A', lambda: os.rename('d/ofB', 'd/ofA'))
    try_as(B, 'rmdir of A', lambda: os.rmdir('d/dirA'))
    try_as(B, 'rename dir of A', lambda: os.rename('d/dirA', 'd/x'))
    try_as(B, 'append to A', append('d/ofA'))
    try_as(B, 'remove own', lambda: os.unlink('d/ofB'))
    try_as(B, 'rmdir own', lambda: os.rmdir('d/dirB'))
    os.chown('d', B, B)
    try_as(B, 'remove of A in own', lambda: os.unlink('d/ofA'))
    try_as(B, 'make', lambda: make('d/new'))
    os.chown('d', 0, 0)
    try_as(0, 'root removes', lambda: os.unlink('d/new'))
    # In a sticky directory only its owner gives it user. attributes.
    try_as(B, 'attribute of the directory', lambda: os.setxattr('d', 'user.a', b'x'))


CAPABILITY = 'security.capability'
one_capability = struct.pack('<5I', 0x02000001, 1 << 10, 0, 0, 0)


def privileges():
    """What takes setuid, setgid and capabilities away, and from whom it does not."""

    def truncates(path):
        return lambda: os.truncate(path, 2)

    def empties(path):
        return lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))

    def creates(path):
        return lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o600))

    def allocates(path):
        def act():
            fd = os.open(path, os.O_WRONLY)
            os.posix_fallocate(fd, 0, 10000)
            os.close(fd)

        return act

    def copies(path):
        def act():
            source, fd = os.open('source', os.O_RDONLY), os.open(path, os.O_WRONLY)
            os.copy_file_range(source, fd, 4)
            os.close(fd)

        return act

    def keeps_open(path):
        def act():
            fd = os.open(path, os.O_WRONLY)
            before = mode(path)
            os.write(fd, b'x')
            after = mode(path)
            os.close(fd)
            return f'{before} {after}'

        return act

    actions = {
        'write': append,
        'truncate': truncates,
        'empty': empties,
        'create': creates,
        'fallocate': allocates,
        'copy': copies,
        'open': keeps_open,
    }
    make('source', 0o644, 'source')
    for bits in (0o4777, 0o2777, 0o6777, 0o2767, 0o6766, 0o4644):
        for name, action in actions.items():
            for uid in (A, B, 0):
                # Whether somebody is in a group is not told to a FUSE file system.
                if uid == B and bits & 0o2010 == 0o2000:
                    continue
                path = f'{name}-{bits:o}-{[A, B, 0].index(uid)}'
                owned(path, A, A, bits, 'some text of some length')
                os.stat(path)
                result = as_user(uid, action(path))
                say(path, result, mode(path))
    for bits in (0o4777, 0o2777, 0o6777, 0o2767):
        for to, ids in {'owner': (B, -1), 'group': (-1, G), 'both': (B, G), 'same': (A, A)}.items():
            path = f'chown-{bits:o}-{to}'
            owned(path, A, A, bits)
            os.chown(path, *ids)
            say(path, mode(path))
        path = f'chgrp-{bits:o}'
        owned(path, A, A, bits)
        try_as(A, 'chgrp', lambda: os.chown(path, -1, G))
        say(path, mode(path))
        os.mkdir(path + 'd')
        os.chmod(path + 'd', bits)
        os.chown(path + 'd', B, G)
        say(path + 'd', mode(path + 'd'))
    for name, action in {**actions, 'chown': lambda path: lambda: os.chown(path, B, B)}.items():
        path = owned(f'capable-{name}', A, A, 0o777, 'some text of some length')
        os.setxattr(path, CAPABILITY, one_capability)
        os.setxattr(path, 'user.kept', b'yes')
        say(as_user(0, action(path)), os.listxattr(path))
    path = owned('capable-chmod', A, A, 0o777)
    os.setxattr(path, CAPABILITY, one_capability)
    os.chmod(path, 0o755)
    os.utime(path)
    say(os.listxattr(path))


def attributes():
    """Names, sizes, flags and errors of extended attributes."""
    f = make('f')
    os.mkdir('d')
    os.symlink('f', 'l')
    os.mkfifo('p')
    for path in (f, 'd', 'l', 'p'):
        attempt(f'user of {path}', lambda: os.setxattr(path, 'user.a', b'v', follow_symlinks=False))
        attempt(f'get of {path}', lambda: os.getxattr(path, 'user.a', follow_symlinks=False))
        attempt(f'remove of {path}', lambda: os.removexattr(path, 'user.a', follow_symlinks=False))
    for name in ('user.', 'user', '', 'other.name', 'system.nothing', 'user.' + 'n' * 250, 'user.' + 'n' * 251):
        attempt(f'set {name[:12]} {len(name)}', lambda: os.setxattr(f, name, b'v'))
        attempt(f'get {name[:12]} {len(name)}', lambda: os.getxattr(f, name))
        attempt(f'remove {name[:12]} {len(name)}', lambda: os.removexattr(f, name))
    attempt('create', lambda: os.setxattr(f, 'user.a', b'1', os.XATTR_CREATE))
    attempt('create again', lambda: os.setxattr(f, 'user.a', b'1', os.XATTR_CREATE))
    attempt('replace', lambda: os.setxattr(f, 'user.a', b'2', os.XATTR_REPLACE))
    attempt('replace none', lambda: os.setxattr(f, 'user.b', b'2', os.XATTR_REPLACE))
    attempt('wrong flag', lambda: os.setxattr(f, 'user.b', b'2', 4))
    attempt('get', lambda: os.getxattr(f, 'user.a'))
    attempt('get none', lambda: os.getxattr(f, 'user.b'))
    attempt('remove none', lambda: os.removexattr(f, 'user.b'))
    for value in (b'', b'\0', bytes(range(256)), b'x' * 3000):
        attempt(f'set {len(value)}', lambda: os.setxattr(f, 'user.v', value))
        say(os.getxattr(f, 'user.v') == value)
    attempt('too long', lambda: os.setxattr(f, 'user.v', b'x' * 65537))
    os.setxattr(f, 'user.é', b'name')
    say(sorted(os.listxattr(f)))
    before = os.stat(f)
    time.sleep(0.02)
    os.setxattr(f, 'user.time', b'x')
    between = os.stat(f)
    time.sleep(0.02)
    os.removexattr(f, 'user.time')
    after = os.stat(f)
    say(before.st_ctime_ns < between.st_ctime_ns < after.st_ctime_ns, before.st_mtime_ns == after.st_mtime_ns)
    read_only = owned('r', os.getuid(), os.getgid(), 0o444)
    attempt('of a file that may not be written', lambda: None if os.getuid() == 0 else os.setxattr(read_only, 'user.a', b'x'))


def shared_attributes():
    """user. follows the mode, trusted. is root's."""
    f = owned('f', A, A, 0o644)
    for uid in (0, A, B):
        try_as(uid, 'set user', lambda: os.setxattr(f, 'user.a', b'v'))
        try_as(uid, 'get user', lambda: os.getxattr(f, 'user.a'))
        try_as(uid, 'set trusted', lambda: os.setxattr(f, 'trusted.a', b'v'))
        try_as(uid, 'get trusted', lambda: os.getxattr(f, 'trusted.a'))
        try_as(uid, 'list', lambda: sorted(os.listxattr(f)))
        try_as(uid, 'set capability', lambda: os.setxattr(f, CAPABILITY, one_capability))
        try_as(uid, 'get capability', lambda: os.getxattr(f, CAPABILITY))
    os.chmod(f, 0o600)
    try_as(B, 'get user, unreadable', lambda: os.getxattr(f, 'user.a'))
    os.symlink('f', 'l')
    attempt('trusted of a symlink', lambda: os.setxattr('l', 'trusted.a', b'v', follow_symlinks=False))
    say(os.listxattr('l', follow_symlinks=False), os.listxattr('f'))


globals()[scenario]()
