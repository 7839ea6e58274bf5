#include "descriptor.h"

#include <unistd.h>

Descriptor::~Descriptor() { close(fd_); }
