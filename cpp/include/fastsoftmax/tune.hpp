// The constants of the plan, measured on this machine and kept for the programs that follow.
//
// The first plan of a process looks for a file that tune() has stored for this CPU, its caches and
// the instruction set in use. A file that is missing, unreadable, damaged or of another machine
// leaves the defaults, and `tuning().origin` says why. Where the file is:
//   FASTSOFTMAX_TUNING       its path; "off": none is read or written
//   Linux and others         $XDG_CONFIG_HOME/fastsoftmax, else ~/.config/fastsoftmax
//   macOS                    ~/Library/Application Support/fastsoftmax
//   Windows                  %LOCALAPPDATA%\fastsoftmax
// and there tuning-<hash of the machine>.txt, so that machines that share a home directory do not
// share constants. Results have the same bits under any constants.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fastsoftmax/plan.hpp"

namespace fastsoftmax {

// This machine: its caches, and the constants in use.
const Machine& machine();

struct Tuning {
  PlanConstants constants;  // in use
  std::string origin;       // where they come from, in words
  std::string path;         // the file of this machine; empty where there can be none
};
Tuning tuning();

// Changes the constants for this process. Throws InvalidArgument where one is out of range: bytes
// from 0 to 2^40, elements per thread from 16,384 to 2^40.
void use_constants(const PlanConstants& constants);

// One comparison: the time of what the plan does up to `size`, over the time of what it does
// beyond, both at this size; the median over interleaved rounds. recompute_bytes is tried in cache
// and from memory.
struct Comparison {
  std::string constant;
  std::int64_t size;  // bytes or elements, as the constant
  double ratio;
  int rounds;
};

struct TuneOptions {
  double seconds = 10;  // for all measurements; positive
  bool save = true;     // store the constants for programs to come
  // Called between measurements, on the calling thread; what it throws ends tune().
  std::function<void()> between = {};
};

struct TuneResult {
  PlanConstants before;
  PlanConstants after;
  std::string path;  // where they are stored; empty where they are not
  std::vector<Comparison> comparisons;
};

// Measures the constants with num_threads() threads, puts them into use and stores them. A constant
// leaves its default only where that is clearly faster, and stays there where time runs out. Needs
// up to 256 MiB, and a machine that does nothing else meanwhile.
// Throws InvalidArgument for seconds that are not positive, or where nothing may be stored
// (FASTSOFTMAX_TUNING=off, no home directory, a file there that is not of tune()), std::bad_alloc,
// and std::filesystem::filesystem_error where the file cannot be written: before measuring.
TuneResult tune(const TuneOptions& options = {});

// Back to the defaults, in this process and, by removing the file, in those to come. Returns
// whether there was a file. Throws InvalidArgument where FASTSOFTMAX_TUNING names a file that is
// not of tune(), and std::filesystem::filesystem_error where the file cannot be removed.
bool reset_tuning();

}  // namespace fastsoftmax
