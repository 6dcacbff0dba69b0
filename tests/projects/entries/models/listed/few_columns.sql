select 1 + 1 as id, 2 * 2 as amount, 3 + 3 as etl_batch
