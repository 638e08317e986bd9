//! Training configurations as jobs.
