// Options of sample that reach every filter, alone and together; without max_surprise, which a GPU
// does not have.
#pragma once

#include <array>

#include "elements.h"
#include "fastsoftmax/sampling.hpp"

namespace tests {

struct SampleSetting {
  const char* name;
  void (*set)(fs::SampleOptions&);
};
inline constexpr std::array kSampleSettings = {
    SampleSetting{"plain", [](fs::SampleOptions&) {}},
    SampleSetting{"temperature", [](fs::SampleOptions& o) { o.temperature.value = 0.7; }},
    SampleSetting{"greedy", [](fs::SampleOptions& o) { o.temperature.value = 0.0; }},
    SampleSetting{"top_k", [](fs::SampleOptions& o) { o.top_k.value = 40; }},
    SampleSetting{"top_k 1", [](fs::SampleOptions& o) { o.top_k.value = 1; }},
    SampleSetting{"large top_k", [](fs::SampleOptions& o) { o.top_k.value = 1500; }},
    SampleSetting{"top_k and top_p",
                  [](fs::SampleOptions& o) {
                    o.top_k.value = 150;
                    o.top_p.value = 0.7;
                    o.min_p.value = 0.001;
                  }},
    SampleSetting{"top_k and typical_p",
                  [](fs::SampleOptions& o) {
                    o.top_k.value = 70;
                    o.typical_p.value = 0.6;
                  }},
    SampleSetting{"top_p", [](fs::SampleOptions& o) { o.top_p.value = 0.85; }},
    SampleSetting{"large top_p", [](fs::SampleOptions& o) { o.top_p.value = 0.999; }},
    SampleSetting{"small top_p", [](fs::SampleOptions& o) { o.top_p.value = 0.02; }},
    SampleSetting{"top_p 0", [](fs::SampleOptions& o) { o.top_p.value = 0.0; }},
    SampleSetting{"min_p", [](fs::SampleOptions& o) { o.min_p.value = 0.1; }},
    SampleSetting{"typical_p", [](fs::SampleOptions& o) { o.typical_p.value = 0.5; }},
    SampleSetting{"small typical_p", [](fs::SampleOptions& o) { o.typical_p.value = 0.01; }},
    SampleSetting{"top_n_sigma", [](fs::SampleOptions& o) { o.top_n_sigma.value = 1.0; }},
    SampleSetting{"all", [](fs::SampleOptions& o) {
                    o.temperature.value = 1.5;
                    o.top_n_sigma.value = 2.0;
                    o.top_k.value = 100;
                    o.top_p.value = 0.9;
                    o.min_p.value = 0.01;
                    o.typical_p.value = 0.9;
                  }}};

}  // namespace tests
