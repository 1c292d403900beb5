// Work that threads of the refinery's own share out among themselves.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace jenga::refinery {

// Runs `make_worker()(item, place)` for every item; each thread has a worker of its own. The first exception comes out.
template <typename Item, typename MakeWorker>
void for_each_item(std::vector<Item>& items, int n_threads, const MakeWorker& make_worker) {
  std::atomic<size_t> next = 0;
  std::exception_ptr error;
  std::mutex mutex;
  const auto run = [&] {
    try {
      auto worker = make_worker();
      for (size_t i = next++; i < items.size(); i = next++) worker(items[i], i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = items.size();
    }
  };
  const size_t n_helpers = std::min<size_t>(static_cast<size_t>(std::max(n_threads, 1)), items.size());
  std::vector<std::jthread> helpers;
  try {
    for (size_t i = 1; i < n_helpers; ++i) helpers.emplace_back(run);
  } catch (const std::system_error& refusal) {
    next = items.size();
    throw std::runtime_error("n_threads: the system started " + std::to_string(helpers.size()) + " of the " +
                             std::to_string(n_helpers - 1) + " threads that were to help: " + refusal.what());
  }
  run();
  helpers.clear();
  if (error) std::rethrow_exception(error);
}

}  // namespace jenga::refinery
