#include "tuning_file.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "cpu.h"
#include "text_file.h"

namespace fastsoftmax {
namespace {

namespace filesystem = std::filesystem;

constexpr std::string_view kHeader = "fastsoftmax tuning 1\n";
constexpr const char* kForeign = "was not written by tune()";
// No file of ours is longer.
constexpr std::size_t kMostBytes = 4096;

struct Constant {
  std::int64_t PlanConstants::* member;
  std::string_view name;
  std::int64_t lowest;
};
constexpr std::int64_t kHighest = std::int64_t{1} << 40;
// Less work than waking a thread is never worth one.
constexpr std::int64_t kFewestElementsPerThread = 16 << 10;
constexpr std::array<Constant, 5> kConstants = {{
    {&PlanConstants::reload_bytes, "reload_bytes", 0},
    {&PlanConstants::parallel_reload_bytes, "parallel_reload_bytes", 0},
    {&PlanConstants::recompute_bytes, "recompute_bytes", 0},
    {&PlanConstants::stream_bytes, "stream_bytes", 0},
    {&PlanConstants::elements_per_thread, "elements_per_thread", kFewestElementsPerThread},
}};

std::string environment(const char* variable) {
  const char* const value = std::getenv(variable);
  return value != nullptr ? value : "";
}

filesystem::path under(const char* variable, const char* directory) {
  const filesystem::path base = environment(variable);
  return base.is_absolute() ? base / directory : filesystem::path();
}

// Where this platform keeps settings of a user; empty where the environment does not tell.
filesystem::path settings_directory() {
#if defined(_WIN32)
  return under("LOCALAPPDATA", "");
#elif defined(__APPLE__)
  return under("HOME", "Library/Application Support");
#else
  const filesystem::path chosen = under("XDG_CONFIG_HOME", "");
  return chosen.empty() ? under("HOME", ".config") : chosen;
#endif
}

// FNV-1a, 64 bits, in hexadecimal.
std::string hash(std::string_view text) {
  std::uint64_t value = 0xcbf29ce484222325U;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  std::ostringstream hex;
  hex << std::hex << value;
  return hex.str();
}

std::string read_start(const filesystem::path& file) {
  if (!filesystem::is_regular_file(file)) throw InvalidArgument("is not a regular file");
  std::ifstream stream(file, std::ios::binary);
  std::string text(kMostBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!stream.is_open() || stream.bad()) throw InvalidArgument("cannot be read");
  text.resize(static_cast<std::size_t>(stream.gcount()));
  return text;
}

[[noreturn]] void fail(const char* what, const filesystem::path& file, int error) {
  throw filesystem::filesystem_error(what, file, std::error_code(error, std::generic_category()));
}

}  // namespace

void check_constants(const PlanConstants& constants) {
  for (const Constant& constant : kConstants) {
    const std::int64_t value = constants.*constant.member;
    if (value < constant.lowest || value > kHighest)
      throw InvalidArgument(std::string(constant.name) + " must be between " +
                            std::to_string(constant.lowest) + " and " + std::to_string(kHighest) +
                            ", got " + std::to_string(value));
  }
}

std::string machine_key() {
  const Caches& sizes = caches();
  std::ostringstream key;
  key << "cpu " << cpu_model() << "\nisa " << name(isa_in_use()) << "\ncaches " << sizes.l1 << ' '
      << sizes.l2 << ' ' << sizes.last_level << '\n';
  return key.str();
}

TuningPath tuning_path(const std::string& key) {
  const std::string wish = environment("FASTSOFTMAX_TUNING");
  if (wish == "off") return {{}, true, "FASTSOFTMAX_TUNING=off"};
  if (!wish.empty()) return {wish, true, ""};
  const filesystem::path directory = settings_directory();
  if (directory.empty()) return {{}, false, "no home directory"};
  return {directory / "fastsoftmax" / ("tuning-" + hash(key) + ".txt"), false, ""};
}

std::string tuning_text(const std::string& key, const PlanConstants& constants) {
  std::ostringstream text;
  text << kHeader << key;
  for (const Constant& constant : kConstants)
    text << constant.name << ' ' << constants.*constant.member << '\n';
  return text.str();
}

PlanConstants parse_tuning(const std::string& text, const std::string& key) {
  if (!text.starts_with(kHeader)) throw InvalidArgument(kForeign);
  std::string_view rest = std::string_view(text).substr(kHeader.size());
  if (!rest.starts_with(key)) throw InvalidArgument("is of another machine or instruction set");
  rest.remove_prefix(key.size());
  PlanConstants constants{};
  for (const Constant& constant : kConstants) {
    const std::size_t end = rest.find('\n');
    const std::string start = std::string(constant.name) + ' ';
    const auto value = end != std::string_view::npos && rest.starts_with(start)
                           ? parse_number(rest.substr(start.size(), end - start.size()))
                           : std::nullopt;
    if (!value) throw InvalidArgument("is damaged at " + std::string(constant.name));
    constants.*constant.member = *value;
    rest.remove_prefix(end + 1);
  }
  if (!rest.empty()) throw InvalidArgument("is damaged at its end");
  check_constants(constants);
  return constants;
}

std::optional<PlanConstants> read_tuning(const filesystem::path& file, const std::string& key) {
  std::error_code error;
  const filesystem::file_status status = filesystem::status(file, error);
  if (status.type() == filesystem::file_type::not_found) return std::nullopt;
  if (error) throw InvalidArgument("cannot be read: " + error.message());
  return parse_tuning(read_start(file), key);
}

void check_ownership(const TuningPath& path) {
  if (!path.named_by_user || !filesystem::exists(path.file)) return;
  try {
    const std::string text = read_start(path.file);
    if (!text.empty() && !text.starts_with(kHeader)) throw InvalidArgument(kForeign);
  } catch (const InvalidArgument& error) {
    throw InvalidArgument("FASTSOFTMAX_TUNING names " + path.file.string() + ", which " +
                          error.what() + "; it is left alone");
  }
}

PendingFile::PendingFile(filesystem::path target)
    : target_(std::move(target)), temporary_(target_) {
  temporary_ += ".tmp" + std::to_string(getpid());
  if (target_.has_parent_path()) filesystem::create_directories(target_.parent_path());
  errno = 0;
  stream_.open(temporary_, std::ios::binary | std::ios::trunc);
  if (!stream_) fail("cannot write", temporary_, errno);
}

PendingFile::~PendingFile() {
  stream_.close();
  std::error_code ignored;
  filesystem::remove(temporary_, ignored);
}

void PendingFile::commit(const std::string& text) {
  errno = 0;
  stream_ << text;
  stream_.close();
  if (!stream_) fail("cannot write", temporary_, errno);
  filesystem::rename(temporary_, target_);
}

}  // namespace fastsoftmax
