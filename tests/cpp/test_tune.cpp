// Constants of the plan: where they are kept, what is believed of a file, and what they must not
// do.
#include "fastsoftmax/tune.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "child_process.h"
#include "run.h"
#include "temporary_tree.h"
#include "tuning.h"
#include "tuning_file.h"

using namespace tests;

namespace {

fs::PlanConstants defaults() { return fs::default_constants(fs::caches()); }

// Other than the defaults, and in range.
fs::PlanConstants others() {
  fs::PlanConstants constants = defaults();
  constants.stream_bytes /= 2;
  constants.elements_per_thread *= 2;
  return constants;
}

void save(const std::string& file, const fs::PlanConstants& constants) {
  fs::PendingFile(file).commit(fs::tuning_text(fs::machine_key(), constants));
}

// From here on the process is as new, of a user whose settings lie in `tree` ...
void settle(const TemporaryTree& tree) {
  fs::forget_constants();
  unsetenv("FASTSOFTMAX_TUNING");
  setenv("XDG_CONFIG_HOME", tree.root().c_str(), 1);
}
// ... or who names a file.
void settle(const std::string& file) {
  fs::forget_constants();
  setenv("FASTSOFTMAX_TUNING", file.c_str(), 1);
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

int files_below(const std::string& directory) {
  int count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
    count += entry.is_regular_file() ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("tune: the text of a file comes back, and nothing else does") {
  const std::string key = fs::machine_key();
  CHECK(std::count(key.begin(), key.end(), '\n') == 3);
  const std::string text = fs::tuning_text(key, others());
  CHECK(fs::parse_tuning(text, key) == others());
  for (std::size_t length = 0; length < text.size(); ++length)
    CHECK_THROWS_AS(fs::parse_tuning(text.substr(0, length), key), fs::InvalidArgument);
  CHECK_THROWS_AS(fs::parse_tuning(text + "more 1\n", key), fs::InvalidArgument);
  CHECK_THROWS_WITH(fs::parse_tuning("[tool]\n", key), "was not written by tune()");
  CHECK_THROWS_WITH(fs::parse_tuning(text, "cpu another\n"),
                    "is of another machine or instruction set");
  fs::PlanConstants wrong = others();
  for (const std::int64_t value : {std::int64_t{-1}, (std::int64_t{1} << 40) + 1}) {
    wrong.stream_bytes = value;
    CHECK_THROWS_AS(fs::parse_tuning(fs::tuning_text(key, wrong), key), fs::InvalidArgument);
    CHECK_THROWS_AS(fs::use_constants(wrong), fs::InvalidArgument);
  }
  wrong = others();
  wrong.elements_per_thread = 0;
  CHECK_THROWS_AS(fs::use_constants(wrong), fs::InvalidArgument);
  const std::string huge =
      std::string(text).replace(text.find("stream_bytes ") + 13, 1, "9" + std::string(30, '9'));
  CHECK_THROWS_WITH(fs::parse_tuning(huge, key), "is damaged at stream_bytes");
}

TEST_CASE("tune: where the file is") {
  const TemporaryTree tree;
  CHECK(in_child([&] {
          const auto path = [] { return fs::tuning_path("key"); };
          settle(tree);
          const std::string file = path().file.string();
          if (!file.starts_with(tree.root() + "/fastsoftmax/tuning-")) return 1;
          if (fs::tuning_path("other").file == file) return 2;
          setenv("XDG_CONFIG_HOME", "relative", 1);  // to be ignored, says the convention
          setenv("HOME", "/home/me", 1);
          if (!path().file.string().starts_with("/home/me/.config/fastsoftmax/")) return 3;
          unsetenv("HOME");
          if (!path().file.empty() || path().reason != "no home directory") return 4;
          setenv("FASTSOFTMAX_TUNING", "off", 1);
          if (!path().file.empty() || path().reason != "FASTSOFTMAX_TUNING=off") return 5;
          setenv("FASTSOFTMAX_TUNING", "here.txt", 1);
          return path().file == "here.txt" && path().named_by_user ? 0 : 6;
        }) == 0);
}

TEST_CASE("tune: the first plan of a process finds what was stored") {
  const TemporaryTree tree;
  CHECK(in_child([&] {
          settle(tree);
          save(fs::tuning_path(fs::machine_key()).file, others());
          const fs::Tuning now = fs::tuning();
          if (!(now.constants == others()) || !(fs::machine().constants == others())) return 1;
          if (!has(now.origin, now.path)) return 2;
          if (!fs::reset_tuning() || !(fs::machine().constants == defaults())) return 3;
          if (std::filesystem::exists(now.path) || fs::reset_tuning()) return 4;
          return fs::tuning().origin == "defaults" ? 0 : 5;
        }) == 0);
}

TEST_CASE("tune: a file that cannot be believed is ignored, and the origin says why") {
  const std::string text = fs::tuning_text(fs::machine_key(), others());
  const std::string other_cpu = "fastsoftmax tuning 1\ncpu x" + text.substr(text.find("cpu ") + 4);
  const struct {
    std::string text;
    const char* why;
  } cases[] = {{"", "not written by tune()"},
               {std::string(10000, '\0'), "not written by tune()"},
               {text.substr(0, text.size() - 1), "damaged at elements_per_thread"},
               {text + "x", "damaged at its end"},
               {other_cpu, "another machine"}};
  for (const auto& c : cases) {
    TemporaryTree tree;
    tree.file("/t.txt", c.text);
    CAPTURE(c.why);
    CHECK(in_child([&] {
            settle(tree.root() + "/t.txt");
            const fs::Tuning now = fs::tuning();
            return now.constants == defaults() && has(now.origin, c.why) ? 0 : 1;
          }) == 0);
  }
  for (const char* path : {"/dev/zero", "/dev", "/no/such/file"}) {
    CAPTURE(path);
    CHECK(in_child([&] {
            settle(std::string(path));
            return fs::machine().constants == defaults() ? 0 : 1;
          }) == 0);
  }
}

TEST_CASE("tune: what is not ours is neither overwritten nor removed") {
  TemporaryTree tree;
  tree.file("/notes.txt", "mine\n");
  const std::string notes = tree.root() + "/notes.txt";
  CHECK(in_child([&] {
          settle(notes);
          try {
            fs::tune();
            return 1;
          } catch (const fs::InvalidArgument& error) {
            if (!has(error.what(), notes)) return 2;
          }
          try {
            fs::reset_tuning();
            return 3;
          } catch (const fs::InvalidArgument&) {
            return 0;
          }
        }) == 0);
  std::stringstream kept;
  kept << std::ifstream(notes).rdbuf();
  CHECK(kept.str() == "mine\n");
}

TEST_CASE("tune: keeps to its time, stores what it finds, and leaves no other file") {
  const TemporaryTree tree;
  CHECK(in_child([&] {
          settle(tree);
          int calls = 0;
          fs::TuneOptions options;
          options.seconds = 1;
          options.between = [&] { ++calls; };
          const auto start = std::chrono::steady_clock::now();
          const fs::TuneResult found = fs::tune(options);
          const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
          if (took.count() > 20) return 1;  // emulators and sanitizers prepare slowly
          if (!(found.before == defaults()) || !(found.after == fs::machine().constants)) return 2;
          if (fs::read_tuning(found.path, fs::machine_key()) != found.after) return 3;
          for (const fs::Comparison& c : found.comparisons)
            if (!(c.ratio > 0) || c.rounds < 5 || calls < c.rounds) return 4;
          return files_below(tree.root()) == 1 ? 0 : 5;
        }) == 0);
  for (const double seconds : {0.0, -1.0, 1e9, std::nan("")}) {
    fs::TuneOptions options;
    options.seconds = seconds;
    options.save = false;
    CHECK_THROWS_AS(fs::tune(options), fs::InvalidArgument);
  }
}

TEST_CASE("tune: a directory that cannot be written is found before measuring") {
  TemporaryTree tree;
  tree.file("/file", "");
  CHECK(in_child([&] {
          settle(tree.root() + "/file/below/t.txt");
          fs::TuneOptions options;
          options.between = [] { std::abort(); };
          try {
            fs::tune(options);
            return 1;
          } catch (const std::filesystem::filesystem_error&) {
            return 0;
          }
        }) == 0);
}
