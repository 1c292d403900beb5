#pragma once

#include <pybind11/pybind11.h>

// Adds the refinery's functions that take Python objects or single rows.
void bind_rows(pybind11::module_& m);
