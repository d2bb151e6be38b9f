// The only place the version is written; CMake and pyproject.toml read it from here.
#pragma once

#define FASTSOFTMAX_VERSION "0.1.0"
