"""Where other tools take over: scikit-learn, LensKit, MLflow, and nearest-neighbour indexes.

| module | what it is | extra |
| --- | --- | --- |
| `estimator` | `PopBiasRecommender`, an estimator of scikit-learn | `sklearn` |
| `lenskit_scorer` | `PopBiasScorer`, a component of LensKit's pipelines | `lenskit` |
| `mlflow_log` | `log_fit`, a fit as a run of MLflow | `mlflow` |
| `export` | a folder of vectors and lists in Parquet, for faiss, hnswlib and the like | |

Each imports its package when it is used; where that is missing, one line says what to install.
"""
