// The file in which constants of the plan are kept: where it is, and its text.
//
//   fastsoftmax tuning 1
//   cpu AMD EPYC 9354 32-Core Processor, signature 10555153
//   isa avx512
//   caches 32768 1048576 33554432
//   reload_bytes 268435456
//   parallel_reload_bytes 12582912
//   recompute_bytes 524288
//   stream_bytes 33554432
//   elements_per_thread 65536
#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "fastsoftmax/plan.hpp"

namespace fastsoftmax {

// Throws InvalidArgument where a constant is out of range.
void check_constants(const PlanConstants& constants);

// The lines that say which machine constants hold for. Throws UnsupportedIsa.
std::string machine_key();

struct TuningPath {
  std::filesystem::path file;  // empty: there can be none
  bool named_by_user = false;
  std::string reason;  // why there can be none
};
TuningPath tuning_path(const std::string& key);

std::string tuning_text(const std::string& key, const PlanConstants& constants);
// Throws InvalidArgument, whose message continues "ignored: it ...".
PlanConstants parse_tuning(const std::string& text, const std::string& key);
// Nothing where there is no file. Throws InvalidArgument as parse_tuning, and where the file is no
// regular one or cannot be read.
std::optional<PlanConstants> read_tuning(const std::filesystem::path& file, const std::string& key);

// Throws InvalidArgument where the user has named a file that is not of tune(): it must be neither
// overwritten nor removed.
void check_ownership(const TuningPath& path);

// A file that appears, complete, when it is committed. Throws std::filesystem::filesystem_error.
class PendingFile {
 public:
  explicit PendingFile(std::filesystem::path target);
  ~PendingFile();
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;

  void commit(const std::string& text);

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  std::ofstream stream_;
};

}  // namespace fastsoftmax
