"""DataFrames that tests make of Arrow tables."""

from typing import Any

import pyarrow as pa


def frame_of(spark: Any, table: pa.Table) -> Any:
    """The table's rows and types. `createDataFrame` takes Arrow tables since Spark 4.0; before it, rows."""
    if int(spark.version.split(".")[0]) >= 4:
        return spark.createDataFrame(table)
    from pyspark.sql.pandas.types import from_arrow_schema

    return spark.createDataFrame(table.to_pylist(), from_arrow_schema(table.schema))
