// Runs the tests with doctest's command line. Exits with 77 (skipped, for CTest) where
// FASTSOFTMAX_ISA names an instruction set that this CPU lacks, and fails where the filters select
// no test at all, so that a renamed file or suite cannot pass unnoticed.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "fastsoftmax/runtime.hpp"

namespace {

constexpr int kSkipped = 77;

unsigned selected_tests = 0;

class SelectionCounter : public doctest::IReporter {
 public:
  explicit SelectionCounter(const doctest::ContextOptions& /*options*/) {}
  void report_query(const doctest::QueryData& /*data*/) override { ++selected_tests; }
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& stats) override {
    selected_tests = stats.numTestCasesPassingFilters;
  }
  void test_case_start(const doctest::TestCaseData& /*data*/) override {}
  void test_case_reenter(const doctest::TestCaseData& /*data*/) override {}
  void test_case_end(const doctest::CurrentTestCaseStats& /*stats*/) override {}
  void test_case_exception(const doctest::TestCaseException& /*error*/) override {}
  void subcase_start(const doctest::SubcaseSignature& /*signature*/) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& /*data*/) override {}
  void log_message(const doctest::MessageData& /*data*/) override {}
  void test_case_skipped(const doctest::TestCaseData& /*data*/) override {}
};

bool contains(const std::vector<fastsoftmax::Isa>& isas, std::string_view wanted) {
  return std::any_of(isas.begin(), isas.end(),
                     [&](fastsoftmax::Isa isa) { return fastsoftmax::name(isa) == wanted; });
}

}  // namespace

REGISTER_LISTENER("selection", 1, SelectionCounter);

int main(int argc, char** argv) {
  if (const char* isa = std::getenv("FASTSOFTMAX_ISA"); isa != nullptr && *isa != '\0') {
    if (contains(fastsoftmax::isas_built(), isa) && !contains(fastsoftmax::isas_supported(), isa)) {
      std::printf("skipped: this CPU cannot run %s\n", isa);
      return kSkipped;
    }
  }
  doctest::Context context(argc, argv);
  const int failures = context.run();
  if (selected_tests == 0) {
    std::fputs("no test was selected\n", stderr);
    return EXIT_FAILURE;
  }
  return failures;
}
